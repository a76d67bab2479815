"""The page of a training: of bounded size, of plain HTML, and nothing that stands out is lost."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from distill_runtime.reporting import timeline
from distill_runtime.reporting.curve import MOST_POINTS, Curve, Point
from distill_runtime.reporting.line_chart import LineChart, draw, number
from distill_runtime.reporting.timeline import Attempt, duration
from distill_runtime.reporting.training import TrainingReport

NOW = datetime(2026, 11, 27, 14, tzinfo=UTC)


def curve(values: dict[int, float | None]) -> tuple[Point, ...]:
    found = Curve()
    for step, value in values.items():
        found.add(step, value)
    return found.points


def line(points: tuple[Point, ...], last_step: int = 10) -> LineChart:
    return LineChart("Loss", points, last_step)


@pytest.mark.parametrize("steps", [1, MOST_POINTS, MOST_POINTS + 1, 100_000])
def test_a_long_training_has_as_many_points_as_a_short_one_and_all_extremes(steps: int) -> None:
    values: dict[int, float | None] = dict.fromkeys(range(1, steps + 1), 2.0)
    values[steps // 2 + 1] = 1000.0
    values[steps] = -5.0
    points = curve(values)
    assert min(steps, MOST_POINTS // 2) <= len(points) <= MOST_POINTS
    assert sum(point.count for point in points) == steps
    assert max(point.high for point in points) == (1000.0 if steps > 1 else -5.0)
    assert min(point.low for point in points) == -5.0
    assert [point.first for point in points] == sorted(point.first for point in points)


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_has_no_point(nothing: float | None) -> None:
    assert [point.first for point in curve({1: 1.0, 2: nothing, 3: 3.0})] == [1, 3]


@pytest.mark.parametrize(
    "values",
    [
        {1: 2.0},  # one step
        {1: 0.0, 2: 0.0},  # a constant, of zero
        {1: 5.0, 2: 5.0},
        {1: -1.0, 2: 1.0},
        {1: 1e-12, 2: 1e12, 3: 1.0},
        {step: 1.0 if step != 5 else 1e6 for step in range(1, 10)},
    ],
)
def test_any_values_make_a_chart(values: dict[int, float | None]) -> None:
    drawn = draw(line(curve(values)))
    assert "nan" not in drawn
    assert "inf" not in drawn
    places = [float(y) for path in re.findall(r' d="M?([^"]*)"', drawn) for y in re.findall(r"[\d.]+ ([-\d.]+)", path)]
    assert all(-0.01 <= place <= 100.01 for place in places)


def test_without_values_there_is_no_chart() -> None:
    assert draw(line(())) == ""


def test_a_value_that_stands_far_out_does_not_press_the_others_flat() -> None:
    values: dict[int, float | None] = {step: 1.0 + step / 10 for step in range(1, 11)}
    assert "logarithmic" not in draw(line(curve(values)))
    assert "Loss, logarithmic" in draw(line(curve(values | {5: 1e4})))


@pytest.mark.parametrize(
    ("value", "written"), [(0, "0"), (1.23456, "1.235"), (12345.6, "12,346"), (5e-5, "5e-05"), (-2.5, "-2.5")]
)
def test_numbers_are_written_for_people(value: float, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(12, "12 s"), (90, "2 min"), (3600 * 5, "5 h 00 min"), (86400 * 3 + 7200, "3 d 2 h")]
)
def test_durations_are_written_for_people(seconds: int, written: str) -> None:
    assert duration(timedelta(seconds=seconds)) == written


def attempt(number_: int, *, running: bool = False) -> Attempt:
    began = NOW - timedelta(hours=300 - number_)
    return Attempt(
        number=number_,
        began_at=began,
        ended_at=None if running else began + timedelta(minutes=30),
        ending="running" if running else "infrastructure",
        reason="" if running else "WorkerFailed",
        message="" if running else "rank 3: <EJ0001> & more",
        nodes=("n1", "n2", "n3", "n4", "n5"),
        from_step=number_ * 10,
        to_step=None if running else number_ * 10 + 5,
        lost_steps=0,
    )


def test_an_attempt_whose_end_is_not_known_has_no_place_in_time() -> None:
    killed = replace(attempt(1), ended_at=None)
    drawn = timeline.draw([killed, attempt(2, running=True)], NOW)
    assert drawn.count("<i class=") == 2  # one bar, and its word in the legend
    assert '<td class="number">–</td>' in drawn


def page(attempts: int) -> str:
    points = curve(dict.fromkeys(range(1, 5000), 2.0))
    return TrainingReport(
        subject="openr1 <7b>",
        state="Step 4,999 of 9,000.",
        done=4999,
        total=9000,
        figures={"loss": "2"},
        charts=[line(points, 9000)],
        attempts=[attempt(number_, running=number_ == attempts) for number_ in range(1, attempts + 1)],
        settings={"Configuration": {"model.uri": "models/<script>"}},
        configuration="seed: 42\n" * 100_000,
        now=NOW,
    ).render()


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    text = page(2)
    assert not re.search(r"https?:|src=|url\(|<script|<link|@import", text)
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(text)
    assert {"openr1 <7b>", "models/<script>", "rank 3: <EJ0001> & more", "n1, n2, n3, n4 and 1 more"} <= set(texts)
    assert text.count('role="img" aria-label="') == 3  # what is drawn is told too


def test_the_page_is_of_bounded_size() -> None:
    assert len(page(300)) < 400_000
    assert "<p>250 earlier ones are in attempts.jsonl.</p>" in page(300)
