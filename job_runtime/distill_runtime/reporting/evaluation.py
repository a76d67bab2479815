"""The report on an evaluation: one HTML page that opens without a network, and a text for a model card.

Both say the same of one value; the page is bounded however many answers there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from distill_runtime.reporting import forest_plot, page, samples
from distill_runtime.reporting.forest_plot import Score
from distill_runtime.reporting.report import Chart, Table
from distill_runtime.reporting.samples import Flip, ShownSample

PAGE_NAME: Final = "report.html"
CARD_NAME: Final = "report.md"

_STYLE: Final = """
.state { font-size: 1.05rem; margin: 0 0 1rem }
.pairs td:first-child { color: var(--faint); width: 15rem } .pairs td { white-space: pre-wrap }
@media (max-width: 40rem) { .pairs td:first-child { width: 9rem } }
"""


@dataclass(frozen=True)
class Flips:
    """Problems on which this evaluation and a baseline differ.

    Attributes:
        baseline: its name.
        shown: some of them, or all.
        total: how many there are.
    """

    baseline: str
    shown: Sequence[Flip]
    total: int


@dataclass(frozen=True)
class EvaluationReport:
    """What is reported.

    Attributes:
        benchmark: what was asked.
        own: the score of the model that was asked; its name is the model's.
        baselines: scores that it is set beside.
        sentence: the result in a sentence.
        figures: the most important numbers, worded, by what a person calls them.
        breakdowns: scores of parts of the benchmark, by what they are parts of.
        tables: what there is to say of differences, protocols and the training data.
        overlap: what the benchmark has in common with the training data, in a sentence; empty if nobody looked.
        charts: verdicts and lengths.
        flips: a baseline's each.
        samples: some of the answers, chosen so that every verdict is there.
        samples_total: how many answers there are.
        protocol: how it was asked and scored, worded.
    """

    benchmark: str
    own: Score
    baselines: Sequence[Score]
    sentence: str
    figures: Mapping[str, str]
    breakdowns: Mapping[str, Sequence[Score]]
    tables: Sequence[Table]
    overlap: str
    charts: Sequence[Chart]
    flips: Sequence[Flips]
    samples: Sequence[ShownSample]
    samples_total: int
    protocol: Mapping[str, str]


def render_page(report: EvaluationReport) -> str:
    """Write the page."""
    body = [
        f'<p class="state">{escape(report.sentence)}</p>',
        page.tiles(report.figures),
        f"<h2>Score, with its 95 % interval</h2>\n{forest_plot.draw(report.own, report.baselines)}",
        *(page.table(table.model_dump()) for table in report.tables if table.rows),
        *(
            f"<h2>By {escape(by)}</h2>\n{forest_plot.draw(report.own, groups)}"
            for by, groups in report.breakdowns.items()
        ),
        *(page.chart(chart.model_dump()) for chart in report.charts if chart.bars),
        *(samples.draw_flips(flips.shown, flips.total, flips.baseline) for flips in report.flips),
        samples.draw_samples(report.samples, report.samples_total),
        page.pairs("Protocol", report.protocol),
    ]
    style = page.STYLE + forest_plot.STYLE + samples.STYLE + _STYLE
    return page.document(f"{report.benchmark}: {report.own.name}", "Evaluation", filter(None, body), style)


def render_card(report: EvaluationReport) -> str:
    """Write the text for a model card: Markdown, with the highest score first."""
    scores = sorted((report.own, *report.baselines), key=lambda score: -score.score)
    lines = [
        f"| Model | {_cell(report.benchmark)} | 95 % interval | Problems |",
        "|---|--:|--:|--:|",
        *(
            f"| {_strong(_cell(score.name), score is report.own)} | {score.score:.1f} | {score.interval} | "
            f"{score.problems:,} |"
            for score in scores
        ),
    ]
    if report.sentence:
        lines += ["", _cell(report.sentence)]
    if report.overlap and report.overlap not in report.sentence:
        lines += ["", _cell(f"Training data: {report.overlap}.")]
    if report.protocol:
        lines += ["", "| Protocol | |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in report.protocol.items()]
    return "\n".join(lines) + "\n"


def _strong(text: str, own: bool) -> str:
    return f"**{text}**" if own else text


def _cell(text: str) -> str:
    """Make a text that may hold anything the text of a cell: no markup, no end of the cell or the line."""
    escaped = escape(text, quote=False)
    for character in "\\`*_[]|":
        escaped = escaped.replace(character, f"\\{character}")
    return " ".join(escaped.split())
