"""A line over steps as HTML: an SVG that is stretched to the page's width, with labels that are text of the page.

So the labels stay as large on a phone as on a screen. A band shows how far the values reach where a point stands for
many steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from distill_runtime.reporting.curve import Point

STYLE: Final = """
figure { margin: 1.6rem 0 0 } figcaption { font-weight: 600 }
figcaption span { color: var(--faint); font-weight: 400; font-size: .85rem; margin-left: .5rem }
.plot { position: relative; height: 9.5rem; margin: .6rem 3.4rem 1.6rem 4rem;
  border-left: 1px solid var(--line); border-bottom: 1px solid var(--line) }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible }
.plot path { vector-effect: non-scaling-stroke; stroke-linejoin: round }
.plot .grid { stroke: var(--line); fill: none } .plot .mark { stroke: var(--part1); stroke-dasharray: 3 3; fill: none }
.plot .band { fill: var(--part0); opacity: .3 } .plot .mean { stroke: var(--part0); stroke-width: 1.6; fill: none }
.plot b { position: absolute; font-weight: 400; font-size: .75rem; line-height: 1; color: var(--faint);
  white-space: nowrap; font-variant-numeric: tabular-nums }
.plot .left { right: 100%; margin-right: .4rem; transform: translateY(50%) }
.plot .right { left: 100%; margin-left: .4rem; transform: translateY(50%) }
.plot .below { top: 100%; margin-top: .45rem; transform: translateX(-50%) }
"""
_TICKS: Final = 4
_NAMED_STEPS: Final = 6
_LOGARITHMIC_FROM: Final = 50.0
"""A largest value of so many times the middle one would press all others flat."""


@dataclass(frozen=True)
class LineChart:
    """What a chart shows.

    Attributes:
        title: the quantity, with its unit.
        points: its values, in the order of steps.
        last_step: where the axis ends.
        marks: steps at which a line is drawn, the starts of attempts.
        second: what the values are by another measure, on the right: its name, and how it is worded.
    """

    title: str
    points: Sequence[Point]
    last_step: int
    marks: Sequence[int] = ()
    second: tuple[str, Callable[[float], str]] | None = None


@dataclass(frozen=True)
class _Axis:
    """Values from `bottom` to `top`, as they are or as their logarithms."""

    bottom: float
    top: float
    ticks: tuple[float, ...]
    logarithmic: bool

    def height(self, value: float) -> float:
        """Give where a value is, in percent of the height from below."""
        if self.logarithmic:
            share = math.log(max(value, self.bottom) / self.bottom) / math.log(self.top / self.bottom)
        else:
            share = (value - self.bottom) / (self.top - self.bottom)
        return 100 * share


def draw(chart: LineChart) -> str:
    """Draw a chart; nothing without points."""
    if not chart.points:
        return ""
    axis = _axis(chart.points)
    title = chart.title + (", logarithmic" if axis.logarithmic else "")
    words = _words(chart.points)
    grid = "".join(f"M0 {_y(axis, tick)}H100" for tick in axis.ticks)
    marks = "".join(f"M{_x(chart, step)} 0V100" for step in chart.marks)
    upper = [f"{_x(chart, point.step)} {_y(axis, point.high)}" for point in chart.points]
    lower = [f"{_x(chart, point.step)} {_y(axis, point.low)}" for point in reversed(chart.points)]
    mean = [f"{_x(chart, point.step)} {_y(axis, point.mean)}" for point in chart.points]
    if len(mean) == 1:  # a line of no length is not drawn
        mean = [f"0 {mean[0].split()[1]}", *mean]
    labels = [f'<b class="left" style="bottom:{axis.height(tick):.1f}%">{number(tick)}</b>' for tick in axis.ticks]
    if chart.second is not None:
        name, worded = chart.second
        title += f" and {name}"
        labels += [
            f'<b class="right" style="bottom:{axis.height(tick):.1f}%">{escape(worded(tick))}</b>'
            for tick in axis.ticks
        ]
    labels += [
        f'<b class="below" style="left:{_x(chart, step)}%">{number(step)}</b>' for step in _steps(chart.last_step)
    ]
    return (
        f"<figure><figcaption>{escape(title)}<span>{words}</span></figcaption>"
        f'<div class="plot"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)} over steps: {words}">'
        f'<path class="grid" d="{grid}"/><path class="mark" d="{marks}"/>'
        f'<path class="band" d="M{"L".join([*upper, *lower])}Z"/><path class="mean" d="M{"L".join(mean)}"/></svg>'
        f"{''.join(labels)}</div></figure>"
    )


def number(value: float) -> str:
    """Write a number as a person reads it: four digits, thousands set apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    if abs(value) >= 1000:  # noqa: PLR2004 - from here on fractions say nothing
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _words(points: Sequence[Point]) -> str:
    low = min(points, key=lambda point: point.low)
    high = max(points, key=lambda point: point.high)
    return f"{number(points[-1].mean)} at last, {number(low.low)} to {number(high.high)}"


def _x(chart: LineChart, step: float) -> str:
    return f"{100 * (step - 1) / max(chart.last_step - 1, 1):.2f}".rstrip("0").rstrip(".")


def _y(axis: _Axis, value: float) -> str:
    return f"{100 - axis.height(value):.2f}".rstrip("0").rstrip(".")


def _axis(points: Sequence[Point]) -> _Axis:
    """Choose an axis that has all values: from zero if they come near it, by logarithms if some stand far out."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    middle = sorted(point.mean for point in points)[len(points) // 2]
    if low > 0 and high > _LOGARITHMIC_FROM * middle:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        apart = max(1, math.ceil((last - first) / _TICKS))
        ticks = tuple(10.0**power for power in range(first, last + 1, apart))
        return _Axis(10.0**first, 10.0**last, ticks, logarithmic=True)
    bottom = 0.0 if low >= 0 and low < high / 2 else low
    step = _round_step((high - bottom) / _TICKS)
    start, end = math.floor(bottom / step), math.ceil(high / step)
    ticks = tuple(place * step for place in range(start, max(end, start + 1) + 1))
    return _Axis(ticks[0], ticks[-1], ticks, logarithmic=False)


def _round_step(rough: float) -> float:
    """Give the next of 1, 2, 5 times a power of ten; of no distance at all, 1."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _steps(last: int) -> list[int]:
    """Give the steps that are named below a chart: the first, the last, and round ones between them."""
    apart = int(max(1, _round_step(last / _NAMED_STEPS)))
    between = [step for step in range(apart, last, apart) if last - step > apart / 2]
    return sorted({1, *between, last})
