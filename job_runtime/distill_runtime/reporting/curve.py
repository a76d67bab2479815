"""A quantity over the steps of a training, thinned so that a million steps take no more room than a thousand."""

import math
from dataclasses import dataclass
from typing import Final

MOST_POINTS: Final = 480
"""More than that nobody tells apart in a chart."""


@dataclass(frozen=True, slots=True)
class Point:
    """Neighbouring steps put together. Nothing that stands out is lost: the extremes are kept beside the mean.

    Attributes:
        first, last: the steps.
        low, high: the smallest and the largest value.
        total: the sum of the values.
        count: how many there are.
    """

    first: int
    last: int
    low: float
    high: float
    total: float
    count: int

    @property
    def step(self) -> float:
        """The middle of the steps."""
        return (self.first + self.last) / 2

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return self.total / self.count

    def joined(self, other: "Point") -> "Point":
        """Put two together."""
        return Point(
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            total=self.total + other.total,
            count=self.count + other.count,
        )


class Curve:
    """Takes values step by step. Whenever there would be too many points, neighbours are put together."""

    def __init__(self) -> None:
        self._width = 1
        self._points: dict[int, Point] = {}

    def add(self, step: int, value: float | None) -> None:
        """Take a step's value; one that is unknown or not finite has no place in a chart."""
        if value is None or not math.isfinite(value):
            return
        while (step - 1) // self._width >= MOST_POINTS:
            self._width *= 2
            points, self._points = self._points, {}
            for point in points.values():
                self._put(point)
        self._put(Point(step, step, value, value, value, 1))

    @property
    def points(self) -> tuple[Point, ...]:
        """The points in the order of their steps."""
        return tuple(point for _, point in sorted(self._points.items()))

    def _put(self, point: Point) -> None:
        place = (point.first - 1) // self._width
        before = self._points.get(place)
        self._points[place] = point if before is None else before.joined(point)
