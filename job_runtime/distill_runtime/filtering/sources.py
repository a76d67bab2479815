"""Which sources of prompts the teacher answers right, and which it does not."""

from collections import Counter
from collections.abc import Iterable, Iterator
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
    return chart_by_value("Acceptance by source", (RIGHT, REJECTED), ACCEPTED, NONE, _fates(kept, rejects))


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


def _fates(kept: Path, rejects: Path) -> Iterator[tuple[str | None, int]]:
    for line, _ in read_lines(kept):
        yield orjson.loads(line)["source"], 0
    for line, _ in read_lines(rejects):
        row = orjson.loads(line)
        yield row["source"], 0 if row["reason"] in UNSELECTED else 1


def _bar(name: str, counts: Counter[int]) -> Bar:
    return Bar(label=name, parts=(counts[0], counts[1]))
