"""Which sources of prompts are answered right, and which are not; and the same by teacher."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from distill_runtime.filtering.selection import UNSELECTED
from distill_runtime.reporting.report import Bar, Chart
from distill_runtime.storage.resumable import read_lines

RIGHT, REJECTED = "right", "rejected"
ACCEPTED = "accepted"
OTHERS = "all others"
NONE = "without a source"

SHOWN = 20
"""Sources in the chart: those with the most generations."""
_TOLD_APART = 1000
"""Sources that are counted one by one; whatever else occurs is among the others, so that memory stays bounded even
where every row has a source of its own."""
_LABEL_CHARACTERS = 60


def chart_by_source(kept: Path, rejects: Path) -> Chart:
    """Count right and rejected generations by source.

    Args:
        kept: file of the kept rows.
        rejects: file of all other generations, among them right ones that were not selected.
    """
    return chart_by_value("Acceptance by source", (RIGHT, REJECTED), ACCEPTED, NONE, _fates(kept, rejects, "source"))


def count_by_teacher(kept: Path, rejects: Path, teachers: Sequence[str]) -> dict[str, int]:
    """Give the counts of each of several teachers, by its number: its generations, and those that are right."""
    counts = Counter(_fates(kept, rejects, "teacher"))
    return {
        name: count
        for number, teacher in enumerate(teachers)
        for name, count in (
            (f"teachers.{number}.generations", counts[teacher, 0] + counts[teacher, 1]),
            (f"teachers.{number}.accepted", counts[teacher, 0]),
        )
    }


def chart_by_teacher(counts: Mapping[str, int], teachers: Sequence[str]) -> Chart:
    """Show what `count_by_teacher` has counted."""
    bars = []
    for number, teacher in enumerate(teachers):
        right = counts[f"teachers.{number}.accepted"]
        bars.append(Bar(label=teacher, parts=(right, counts[f"teachers.{number}.generations"] - right)))
    return Chart(title="Acceptance by teacher", parts=(RIGHT, REJECTED), share=ACCEPTED, bars=tuple(bars))


def chart_by_value(
    title: str, parts: tuple[str, str], share: str, none: str, told: Iterable[tuple[str | None, int]]
) -> Chart:
    """Count in which of two parts those with each value are.

    Args:
        none: what those without a value are called.
        told: of each its value, and which part it belongs to.
    """
    counts: dict[str, Counter[int]] = {}
    for value, part in told:
        name = none if value is None else value[:_LABEL_CHARACTERS]
        if name not in counts and len(counts) >= _TOLD_APART:
            name = OTHERS
        counts.setdefault(name, Counter())[part] += 1
    others = counts.pop(OTHERS, Counter())
    ranked = sorted(counts, key=lambda name: (-counts[name].total(), name))
    for name in ranked[SHOWN:]:
        others += counts[name]
    bars = [_bar(name, counts[name]) for name in ranked[:SHOWN]]
    if others:
        bars.append(_bar(OTHERS, others))
    return Chart(title=title, parts=parts, share=share, bars=tuple(bars))


def _fates(kept: Path, rejects: Path, column: str) -> Iterator[tuple[str | None, int]]:
    for line, _ in read_lines(kept):
        yield orjson.loads(line).get(column), 0
    for line, _ in read_lines(rejects):
        row = orjson.loads(line)
        yield row.get(column), 0 if row["reason"] in UNSELECTED else 1


def _bar(name: str, counts: Counter[int]) -> Bar:
    return Bar(label=name, parts=(counts[0], counts[1]))
