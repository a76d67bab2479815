"""A report is a page that opens anywhere and says nothing else than its numbers."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from distill_runtime.reporting.lengths import BARS, count_by_doubling, label, span
from distill_runtime.reporting.report import Bar, Chart, Figure, Report, Table

REPORT = Report(
    title="Packed data",
    subject="A <name>",
    figures={
        "samples": Figure(label="samples", value=12345),
        "fill": Figure(label="fill", value=0.98765, unit="share"),
    },
    charts=(
        Chart(title="Lengths", parts=("a", "b"), share="a's part", bars=(Bar(label="1 – 2", parts=(1, 3)),)),
        Chart(title="Nothing to show", parts=("a",), bars=()),
    ),
    tables=(Table(title="Rows", columns=("text",), rows=(("<script>alert(1)</script>",),)),),
)


def test_the_json_is_the_report(tmp_path: Path) -> None:
    REPORT.write(tmp_path)
    assert Report.model_validate(json.loads((tmp_path / "report.json").read_text())) == REPORT


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    REPORT.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?:|src=|url\(|<script|<link|@import", page)
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(page)
    assert {"A <name>", "12,345", "98.8 %", "1 – 2", "3", "25.0 %", "<script>alert(1)</script>"} <= set(texts)
    assert "Nothing to show" not in texts


@pytest.mark.parametrize(
    ("length", "bar"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (1023, 9), (1024, 10), (2**40, BARS - 1)]
)
def test_bars_double(length: int, bar: int) -> None:
    counts = count_by_doubling(np.array([length], np.int64))
    assert counts.sum() == 1
    assert counts[bar] == 1


def test_labels_and_span() -> None:
    assert [label(bar) for bar in (0, 1, 10, BARS - 1)] == ["0 – 1", "2 – 3", "1,024 – 2,047", "8,388,608 and more"]
    counts = count_by_doubling(np.array([5, 100], np.int64))
    assert span(counts, count_by_doubling(np.array([300], np.int64))) == range(2, 9)
    assert span(count_by_doubling(np.array([], np.int64))) == range(0)
