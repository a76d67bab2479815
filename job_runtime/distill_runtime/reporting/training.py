"""The report on a training: one HTML page that opens without a network, and is no larger the longer the training is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

from distill_runtime.reporting import line_chart, page, timeline
from distill_runtime.reporting.line_chart import LineChart
from distill_runtime.reporting.timeline import Attempt

_STYLE: Final = """
:root { --bad: #c4453c } @media (prefers-color-scheme: dark) { :root { --bad: #e0685f } }
.state { font-size: 1.05rem; margin: 0 0 1rem }
.all { height: .5rem; border-radius: .25rem; background: var(--line); overflow: hidden; margin: 0 0 1.2rem }
.all i { display: block; height: 100%; background: var(--part0) }
.wide { overflow-x: auto } .wide table { min-width: 38rem } small { color: var(--faint) }
.pairs td:first-child { color: var(--faint); width: 15rem } summary { cursor: pointer; margin: 2.5rem 0 .5rem }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
  font: .8rem/1.45 ui-monospace, monospace }
@media (max-width: 40rem) { .plot { margin-right: 2.6rem; margin-left: 3.6rem } .pairs td:first-child { width: 9rem } }
"""
_MARKED: Final = '<p class="legend">A dashed line is where another attempt goes on.</p>'
_LONGEST_TEXT: Final = 100_000


@dataclass(frozen=True)
class TrainingReport:
    """What the page shows.

    Attributes:
        subject: name of the run.
        state: where it stands, in a sentence.
        done, total: steps.
        figures: the most important numbers, worded, by what a person calls them.
        charts: in their order; those without points are left out.
        attempts: all, in their order.
        settings: what was asked for, and of which versions, as headings of names and texts.
        configuration: the YAML that MindFormers was given.
        now: when this is said.
    """

    subject: str
    state: str
    done: int
    total: int
    figures: Mapping[str, str]
    charts: Sequence[LineChart]
    attempts: Sequence[Attempt]
    settings: Mapping[str, Mapping[str, str]]
    configuration: str
    now: datetime

    def render(self) -> str:
        """Write the page."""
        share = 100 * min(self.done / self.total, 1)
        body = [
            f'<p class="state">{escape(self.state)}</p>',
            f'<div class="all" role="img" aria-label="{share:.0f} % done"><i style="width:{share:.2f}%"></i></div>',
            page.tiles(self.figures),
            *(line_chart.draw(chart) for chart in self.charts),
            _MARKED if any(chart.marks for chart in self.charts) else "",
            timeline.draw(self.attempts, self.now),
            *(page.pairs(heading, pairs) for heading, pairs in self.settings.items()),
            _text("mindformers.yaml", self.configuration),
        ]
        style = page.STYLE + line_chart.STYLE + timeline.STYLE + _STYLE
        return page.document(self.subject, "Training", filter(None, body), style)


def _text(heading: str, text: str) -> str:
    if not text:
        return ""
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}\n…"
    return f"<details><summary>{escape(heading)}</summary><pre>{escape(shown)}</pre></details>"
