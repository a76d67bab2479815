"""The report of a pack stage: how long the samples are, and how full the sequences."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from distill_runtime.reporting.lengths import label, span
from distill_runtime.reporting.report import Bar, Chart, Report, Table
from distill_runtime.resumable import read_lines

_SAMPLES = 20
"""Rejected rows that are shown."""


def summarise(
    counts: Mapping[str, int], metrics: Mapping[str, float], lengths: tuple[int, ...], rejects: Path
) -> Report:
    """Make the report.

    Args:
        counts, metrics: of the result.
        lengths: samples by length (`reporting.lengths.count_by_doubling`).
        rejects: file of the rejected rows.
    """
    bars = tuple(Bar(label=label(bar), parts=(lengths[bar],)) for bar in span(np.array(lengths)))
    shown = (orjson.loads(line) for line, _ in islice(read_lines(rejects), _SAMPLES))
    rows = tuple((row["reason"], f"{row['uuid']} / {row['generation']}", f"{row['tokens']:,}") for row in shown)
    return Report(
        title="Packed training data",
        figures={**counts, **metrics},
        charts=(Chart(title="Samples by their length in tokens", parts=("samples",), bars=bars),),
        tables=(Table(title="Some of the rejected", columns=("reason", "uuid / generation", "tokens"), rows=rows),),
    )
