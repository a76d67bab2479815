"""Scores with their intervals below each other, on one axis: what overlaps is seen at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

STYLE: Final = """
.forest { border: 0 } .forest td { border: 0; vertical-align: middle; padding: .3rem .6rem }
.forest .name { width: 28% } .forest .strip { position: relative; width: 48%; height: 1.9rem; padding: 0 }
.forest svg { position: absolute; inset: 0; width: 100%; height: 100% }
.forest path { vector-effect: non-scaling-stroke }
.forest .grid { stroke: var(--line) } .forest .here { stroke: var(--part0); stroke-dasharray: 3 3; opacity: .8 }
.forest .span { stroke: var(--part2); stroke-width: 4; stroke-linecap: round }
.forest .own .span { stroke: var(--part0) }
.forest i { position: absolute; top: 50%; width: .7rem; height: .7rem; margin: -.35rem 0 0 -.35rem; border-radius: 50%;
  background: var(--text) } .forest .own i { background: var(--part0) } .forest .own .name { font-weight: 600 }
.forest .axis b { position: absolute; top: .2rem; transform: translateX(-50%); font-weight: 400; font-size: .75rem;
  white-space: nowrap; color: var(--faint) } .forest small { color: var(--faint); white-space: nowrap }
@media (max-width: 40rem) { .forest tr { display: flex; flex-wrap: wrap } .forest .name { flex: 1; width: auto }
  .forest .strip { order: 1; width: calc(100% - 1.6rem); margin: 0 .8rem; flex: none }
  .forest .axis td:not(.strip) { display: none } }
"""
_ROUND_STEPS: Final = (1, 2, 5, 10, 20, 25)
_MOST_TICKS: Final = 6


@dataclass(frozen=True)
class Score:
    """A score and how far it can be believed.

    Attributes:
        name: whose it is, or of which part.
        score: in percent.
        low, high: ends of its 95 % interval.
        problems: how many it rests on.
    """

    name: str
    score: float
    low: float
    high: float
    problems: int

    @property
    def interval(self) -> str:
        """The interval in words."""
        return f"{self.low:.1f} to {self.high:.1f}"


def draw(own: Score, others: Sequence[Score]) -> str:
    """Draw the own score, with a dashed line through all rows, and the others below it."""
    ends = [end for score in (own, *others) for end in (score.low, score.score, score.high)]
    bottom, top, step = _axis(min(ends), max(ends))

    def place(value: float) -> str:
        return f"{100 * (value - bottom) / (top - bottom):.2f}"

    ticks = [bottom + step * index for index in range((top - bottom) // step + 1)]
    grid = "".join(f"M{place(tick)} 0V10" for tick in ticks)
    rows = []
    for score in (own, *others):
        span = f"M{place(score.low)} 5H{place(score.high)}"
        rows.append(
            f'<tr{" class=own" if score is own else ""}><td class="name">{escape(score.name)} '
            f"<small>n = {score.problems:,}</small></td>"
            '<td class="strip"><svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
            f'aria-label="{score.score:.1f} %, 95 % interval {score.interval}"><path class="grid" d="{grid}"/>'
            f'<path class="here" d="M{place(own.score)} 0V10"/><path class="span" d="{span}"/></svg>'
            f'<i style="left:{place(score.score)}%"></i></td>'
            f'<td class="number">{score.score:.1f} % <small>{score.interval}</small></td></tr>'
        )
    labels = "".join(f'<b style="left:{place(tick)}%">{tick}</b>' for tick in ticks)
    rows.append(f'<tr class="axis"><td></td><td class="strip">{labels}</td><td></td></tr>')
    return f'<table class="forest">{"".join(rows)}</table>'


def _axis(low: float, high: float) -> tuple[int, int, int]:
    """Choose whole percents from where to where, and how far apart the labels are."""
    for step in _ROUND_STEPS:
        bottom, top = max(0, int(low // step) * step), min(100, -int(-high // step) * step)
        top = max(top, bottom + step)
        if (top - bottom) // step < _MOST_TICKS:
            break
    return bottom, top, step
