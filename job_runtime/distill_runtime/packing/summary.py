"""The report of a pack stage: how long the samples are, and how full the sequences."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from distill_runtime.packing.tokenising import CONTROL_TOKENS, TEMPLATE_UNSUITABLE, TOO_LONG
from distill_runtime.reporting.lengths import label, span
from distill_runtime.reporting.report import Bar, Chart, Figure, Report, Table
from distill_runtime.storage.resumable import read_lines

_SAMPLES = 20
"""Rejected rows that are shown."""
_LABELS = {
    "rows": "kept rows",
    "samples": "samples",
    f"rejected.{TOO_LONG}": "rows too long",
    f"rejected.{TEMPLATE_UNSUITABLE}": "rows the template does not write",
    f"rejected.{CONTROL_TOKENS}": "rows with control tokens",
    "sequences": "sequences",
    "tokens": "tokens",
    "trainedTokens": "tokens trained on",
    "paddingLabels": "padding trained on",
}


def summarise(
    subject: str,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
    lengths: tuple[int, ...],
    rejects: Path | None,
) -> Report:
    """Make the report.

    Args:
        subject: name of the data set.
        counts, metrics: of the result.
        lengths: samples by length (`reporting.lengths.count_by_doubling`).
        rejects: file of the rejected rows; None where none can be.
    """
    bars = tuple(Bar(label=label(bar), parts=(lengths[bar],)) for bar in span(np.array(lengths)))
    return Report(
        title="Packed training data",
        subject=subject,
        figures={name: Figure(label=_LABELS[name], value=counts[name]) for name in _LABELS if name in counts}
        | {"fill": Figure(label="fill", value=metrics["fill"], unit="share")},
        charts=(Chart(title="Samples by their length in tokens", parts=("samples",), bars=bars),),
        tables=() if rejects is None else (_rejected(rejects),),
    )


def _rejected(rejects: Path) -> Table:
    shown = (orjson.loads(line) for line, _ in islice(read_lines(rejects), _SAMPLES))
    rows = tuple((row["reason"], f"{row['uuid']} / {row['generation']}", row["why"]) for row in shown)
    return Table(title="Some of the rejected", columns=("reason", "uuid / generation", "why"), rows=rows)
