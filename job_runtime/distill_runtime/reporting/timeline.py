"""The attempts at a training as a timeline: how long each held its devices, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Final, Literal

STYLE: Final = """
.lane { position: relative; height: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: .3rem;
  overflow: hidden; margin-top: .6rem }
.lane i { position: absolute; top: 0; bottom: 0; min-width: 2px; border-right: 1px solid var(--page) }
.running, .done { background: var(--part0) } .infrastructure { background: var(--part1) }
.other { background: var(--bad) }
.running { background-image: repeating-linear-gradient(45deg, transparent 0 6px, #fff5 6px 12px) }
.ends { display: flex; justify-content: space-between; font-size: .75rem; color: var(--faint); margin-top: .3rem }
.legend { font-size: .85rem; color: var(--faint) } .legend span { margin-right: 1rem; white-space: nowrap }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .35rem }
"""
_LISTED: Final = 50
_DRAWN: Final = 400
_NODES: Final = 4

Ending = Literal["running", "done", "infrastructure", "other"]
_LEGEND: Final[dict[Ending, str]] = {
    "running": "running",
    "done": "trained",
    "infrastructure": "ended by what it ran on",
    "other": "ended otherwise",
}


@dataclass(frozen=True)
class Attempt:
    """An attempt.

    Attributes:
        number: from 1.
        began_at, ended_at: when; None if that is not known, or not yet.
        ending: how it ended.
        reason: in a word; empty while it runs.
        message: in a sentence, if there is one.
        nodes: where it ran.
        from_step, to_step: the steps that it found done, and the last that it did, if that is known.
        lost_steps: of those, how many had to be done again.
    """

    number: int
    began_at: datetime | None
    ended_at: datetime | None
    ending: Ending
    reason: str
    message: str
    nodes: Sequence[str]
    from_step: int
    to_step: int | None
    lost_steps: int


def draw(attempts: Sequence[Attempt], now: datetime) -> str:
    """Draw the attempts, the latest up to now if it runs; below them the last ones as a table."""
    timed = [
        (each, each.began_at, ended)
        for each in attempts
        if each.began_at is not None and (ended := _end(each, now)) is not None
    ]
    lane = _lane(timed[-_DRAWN:]) if timed else ""
    listed = attempts[-_LISTED:]
    left = len(attempts) - len(listed)
    heading = f"<h2>{'1 attempt' if len(attempts) == 1 else f'{len(attempts)} attempts'}</h2>\n"
    return heading + lane + _table(listed, now) + (f"<p>{left} earlier ones are in attempts.jsonl.</p>" if left else "")


def duration(time: timedelta) -> str:
    """Write a duration in its two largest units."""
    minutes = round(time.total_seconds() / 60)
    if minutes < 1:
        return f"{time.total_seconds():.0f} s"
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min"


def moment(time: datetime) -> str:
    """Write a time to the minute, in UTC like the logs of the nodes."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _end(attempt: Attempt, now: datetime) -> datetime | None:
    """Give when an attempt ended, or now if it runs; of some that were killed nobody knows."""
    return now if attempt.ending == "running" else attempt.ended_at


def _lane(timed: Sequence[tuple[Attempt, datetime, datetime]]) -> str:
    start, end = timed[0][1], max(ended for _, _, ended in timed)
    whole = max(end - start, timedelta(seconds=1))
    bars = "".join(_bar(each, (began - start) / whole, ended - began, whole) for each, began, ended in timed)
    used = {each.ending for each, _, _ in timed}
    legend = "".join(
        f'<span><i class="{ending}"></i>{words}</span>' for ending, words in _LEGEND.items() if ending in used
    )
    return (
        f'<div class="lane" role="img" aria-label="timeline of the attempts, which the table below has">{bars}</div>'
        f'<div class="ends"><span>{moment(start)}</span><span>{moment(end)}</span></div><p class="legend">{legend}</p>'
    )


def _bar(attempt: Attempt, left: float, held: timedelta, whole: timedelta) -> str:
    title = f"attempt {attempt.number}: {_LEGEND[attempt.ending]} {attempt.reason}, {duration(held)}"
    return (
        f'<i class="{attempt.ending}" style="left:{100 * left:.2f}%;width:{100 * (held / whole):.2f}%" '
        f'title="{escape(title)}"></i>'
    )


def _table(attempts: Sequence[Attempt], now: datetime) -> str:
    rows = "".join(_row(each, now) for each in reversed(attempts))
    head = "".join(
        f"<th{kind}>{name}</th>"
        for name, kind in (
            ("attempt", ' class="number"'),
            ("why it ended", ""),
            ("steps", ' class="number"'),
            ("lost", ' class="number"'),
            ("held", ' class="number"'),
            ("nodes", ""),
        )
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _row(attempt: Attempt, now: datetime) -> str:
    began, ended = attempt.began_at, _end(attempt, now)
    held = "–" if began is None or ended is None else duration(ended - began)
    to_step = "" if attempt.to_step is None else f"{attempt.to_step:,}"
    why = escape(attempt.reason or _LEGEND[attempt.ending])
    if attempt.message:
        why += f"<br><small>{escape(attempt.message)}</small>"
    nodes = ", ".join(attempt.nodes[:_NODES])
    if len(attempt.nodes) > _NODES:
        nodes += f" and {len(attempt.nodes) - _NODES} more"
    return (
        f'<tr><td class="number">{attempt.number}</td><td>{why}</td>'
        f'<td class="number">{attempt.from_step:,} – {to_step}</td><td class="number">{attempt.lost_steps:,}</td>'
        f'<td class="number">{held}</td><td>{escape(nodes)}</td></tr>'
    )
