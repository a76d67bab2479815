"""What a report is made of, and how it is written."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from distill_runtime.contract import Model
from distill_runtime.reporting.page import render

REPORT_NAMES = ("report.json", "report.html")


class Figure(Model):
    """An important number."""

    label: str = Field(description="What a person calls it.")
    value: int | float
    unit: Literal["count", "share"] = Field(default="count", description="A share is between 0 and 1.")


class Bar(Model):
    """One bar of a chart."""

    label: str
    parts: tuple[int, ...] = Field(description="One count for each of the chart's parts.")


class Chart(Model):
    """Bars that may have parts."""

    title: str
    parts: tuple[str, ...] = Field(description="What the parts of each bar are.")
    share: str | None = Field(
        default=None, description="What the first part is called as a share of its bar, where that is worth showing."
    )
    bars: tuple[Bar, ...]


class Table(Model):
    """Rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Report(Model):
    """A report on an artifact."""

    title: str = Field(description="What it reports on, in general.")
    subject: str = Field(description="Name of the data set.")
    figures: dict[str, Figure] = Field(
        description="The most important numbers, by the name that the result gives them."
    )
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()

    def write(self, artifact: Path) -> None:
        """Write it into an artifact's directory, as JSON and as a page."""
        content = (self.model_dump_json(by_alias=True, indent=2) + "\n", render(self.model_dump()))
        for name, text in zip(REPORT_NAMES, content, strict=True):
            (artifact / name).write_text(text, encoding="utf-8")
