"""Which sources of prompts the teacher answers right, and which it does not."""

from collections import Counter
from collections.abc import Iterator
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
    counts: dict[str, Counter[str]] = {}
    for source, fate in _fates(kept, rejects):
        name = NONE if source is None else source[:_LABEL_CHARACTERS]
        if name not in counts and len(counts) >= _TOLD_APART:
            name = OTHERS
        counts.setdefault(name, Counter())[fate] += 1
    others = counts.pop(OTHERS, Counter())
    ranked = sorted(counts, key=lambda name: (-counts[name].total(), name))
    for name in ranked[SHOWN:]:
        others += counts[name]
    bars = [_bar(name, counts[name]) for name in ranked[:SHOWN]]
    if others:
        bars.append(_bar(OTHERS, others))
    return Chart(title="Acceptance by source", parts=(RIGHT, REJECTED), share=ACCEPTED, bars=tuple(bars))


def _fates(kept: Path, rejects: Path) -> Iterator[tuple[str | None, str]]:
    for line, _ in read_lines(kept):
        yield orjson.loads(line)["source"], RIGHT
    for line, _ in read_lines(rejects):
        row = orjson.loads(line)
        yield row["source"], RIGHT if row["reason"] in UNSELECTED else REJECTED


def _bar(name: str, counts: Counter[str]) -> Bar:
    return Bar(label=name, parts=(counts[RIGHT], counts[REJECTED]))
