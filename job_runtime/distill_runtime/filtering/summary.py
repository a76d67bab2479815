"""The report of a filter stage: what was accepted, what was rejected and why, and how that depends on length."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from distill_runtime.filtering.generations import LengthUnit
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.sources import ACCEPTED, REJECTED, RIGHT
from distill_runtime.reporting.lengths import BARS, count_by_doubling, label, span
from distill_runtime.reporting.report import Bar, Chart, Figure, Report, Table
from distill_runtime.storage.resumable import read_lines

_SAMPLES = 5
"""Rejects of each reason that are shown."""
_BATCH = 4096


def summarise(
    subject: str,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
    accepted: Keys,
    rejects: Path,
    unit: LengthUnit,
    more: Sequence[Chart],
) -> Report:
    """Make the report.

    Args:
        subject: name of the data set.
        counts, metrics: of the result.
        accepted: keys of the right generations.
        rejects: file of the rejected generations.
        unit: what lengths are given in.
        more: charts that go with these, such as the acceptance by source.
    """
    right = np.zeros(BARS, np.int64)
    for _, keys in accepted.chunks():
        known = keys["tokens" if unit == "tokens" else "length"]
        right += count_by_doubling(known[known >= 0])
    rejected = np.zeros(BARS, np.int64)
    reasons: Counter[str] = Counter()
    samples: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    waiting: list[int] = []
    for line, _ in read_lines(rejects):
        row = orjson.loads(line)
        reasons[row["reason"]] += 1
        if len(samples[row["reason"]]) < _SAMPLES:
            samples[row["reason"]].append(row)
        # What was right but not kept is among the accepted.
        if row.get(unit) is not None:
            waiting.append(row[unit])
        if len(waiting) == _BATCH:
            rejected += count_by_doubling(np.array(waiting, np.int64))
            waiting.clear()
    rejected += count_by_doubling(np.array(waiting, np.int64))
    lengths = [Bar(label=label(bar), parts=(int(right[bar]), int(rejected[bar]))) for bar in span(right, rejected)]
    by_reason = [Bar(label=reason, parts=(number,)) for reason, number in reasons.most_common()]
    rows = [
        (reason, f"{row['uuid']} / {row['generation']}", row.get("answer") or "", _found(row))
        for reason in sorted(samples)
        for row in samples[reason]
    ]
    charts = [
        Chart(title="Why generations were rejected", parts=("generations",), bars=tuple(by_reason)),
        Chart(
            title=f"Acceptance by length of the answer in {unit}",
            parts=(RIGHT, REJECTED),
            share=ACCEPTED,
            bars=tuple(lengths),
        ),
    ]
    charts += more
    return Report(
        title="Rejection sampling",
        subject=subject,
        figures={
            "generations": Figure(label="generations", value=counts["generations"]),
            "accepted": Figure(label="right", value=len(accepted)),
            "acceptanceRate": Figure(label="acceptance rate", value=metrics["acceptanceRate"], unit="share"),
            "kept": Figure(label="kept", value=counts["kept"]),
        },
        charts=tuple(charts),
        tables=(
            Table(
                title="Some of the rejected",
                columns=("reason", "uuid / generation", "reference answer", "found instead"),
                rows=tuple(rows),
            ),
        ),
    )


def _found(row: Mapping[str, Any]) -> str:
    """Say what was there instead of a right answer: another one, a failure, or a benchmark's problem."""
    return row.get("found") or row.get("failure") or row.get("benchmark") or ""
