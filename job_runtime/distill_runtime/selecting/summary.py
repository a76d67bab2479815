"""The report of a select stage: what was selected and what was left out, by reason, pass rate, length and source."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import orjson

from distill_runtime.filtering.sources import NONE, chart_by_value
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.reporting.lengths import BARS, count_by_doubling, label, span
from distill_runtime.reporting.report import Bar, Chart, Figure, Report
from distill_runtime.selecting.candidates import Known
from distill_runtime.selecting.choice import TENTHS, UNKNOWN, Choice
from distill_runtime.storage.resumable import read_lines

_PARTS = ("selected", "left out")
_SHARE = "selected"
_WITHOUT_TEACHER = "without a teacher"


def summarise(subject: str, counts: Mapping[str, int], known: Known, choice: Choice, artifact: Path) -> Report:
    """Make the report.

    Args:
        subject: name of the data set.
        counts: of the result.
        artifact: directory that has the rows, and those that are not selected.
    """
    rejected = [(name.removeprefix("rejected."), number) for name, number in counts.items() if "." in name]
    reasons = [Bar(label=reason, parts=(number,)) for reason, number in sorted(rejected, key=lambda each: -each[1])]
    return Report(
        title="Selection",
        subject=subject,
        figures={
            "rows": Figure(label="right answers", value=counts["rows"]),
            "kept": Figure(label="selected", value=counts["kept"]),
            "prompts": Figure(label="prompts among them", value=counts["prompts"]),
        },
        charts=(
            Chart(title="Why rows were left out", parts=("rows",), bars=tuple(reasons)),
            _by_pass_rate(choice),
            _by_length(known, choice),
            _by_value("Selected by source", artifact, "source", NONE),
            _by_value("Selected by teacher", artifact, "teacher", _WITHOUT_TEACHER),
        ),
    )


def _by_pass_rate(choice: Choice) -> Chart:
    number = TENTHS + bool((choice.tenths == UNKNOWN).any())
    selected = np.bincount(choice.tenths[choice.fates == 0], minlength=number)
    others = np.bincount(choice.tenths[choice.fates != 0], minlength=number)
    labels = [*(f"{10 * tenth} – {10 * tenth + 10} %" for tenth in range(TENTHS - 1)), "100 %", "unknown"][:number]
    bars = [
        Bar(label=name, parts=(int(in_it), int(not_in_it)))
        for name, in_it, not_in_it in zip(labels, selected, others, strict=True)
    ]
    return Chart(title="Selected by the prompt's pass rate", parts=_PARTS, share=_SHARE, bars=tuple(bars))


def _by_length(known: Known, choice: Choice) -> Chart:
    selected, others = np.zeros(BARS, np.int64), np.zeros(BARS, np.int64)
    for start, chunk in known.candidates.chunks():
        left_out = choice.fates[start : start + len(chunk)] != 0
        selected += count_by_doubling(chunk["length"][~left_out])
        others += count_by_doubling(chunk["length"][left_out])
    bars = [Bar(label=label(bar), parts=(int(selected[bar]), int(others[bar]))) for bar in span(selected, others)]
    title = "Selected by length of the answer in characters"
    return Chart(title=title, parts=_PARTS, share=_SHARE, bars=tuple(bars))


def _by_value(title: str, artifact: Path, column: str, none: str) -> Chart:
    def told() -> Iterator[tuple[str | None, int]]:
        for part, name in enumerate((KEPT_NAME, REJECTS_NAME)):
            for line, _ in read_lines(artifact / name):
                yield orjson.loads(line).get(column), part

    return chart_by_value(title, _PARTS, _SHARE, none, told())
