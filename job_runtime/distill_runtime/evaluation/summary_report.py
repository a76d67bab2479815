"""What a summary says, as the report that people read: in the stage eval, and again beside others in compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from distill_runtime.contract import Protocol
from distill_runtime.contract.comparison import Comparison
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.evaluation.differences import describe_p
from distill_runtime.evaluation.interval import wilson_interval
from distill_runtime.evaluation.overlap import describe_overlap
from distill_runtime.evaluation.summary import Group, OverlapOf, Summary
from distill_runtime.reporting.evaluation import (
    CARD_NAME,
    PAGE_NAME,
    EvaluationReport,
    Flips,
    render_card,
    render_page,
)
from distill_runtime.reporting.forest_plot import Score
from distill_runtime.reporting.report import Chart, Table
from distill_runtime.reporting.samples import ShownSample

_OPERATIONAL: Final = {field.alias for field in Protocol.model_fields.values() if OPERATIONAL in field.metadata}


def report_of(
    model: str,
    summary: Summary,
    sentence: str,
    baselines: Sequence[Score],
    charts: Sequence[Chart],
    samples: Sequence[ShownSample],
    flips: Sequence[Flips],
) -> EvaluationReport:
    """Put a report together.

    Args:
        model: what was evaluated.
        sentence: the result in a sentence.
        baselines, charts, samples, flips: as far as they are looked at here.
    """
    return EvaluationReport(
        benchmark=summary.benchmark,
        own=score_of(model, summary),
        baselines=baselines,
        sentence=sentence,
        figures=_figures(summary),
        breakdowns={each.by: [_group(group) for group in each.groups] for each in summary.breakdowns},
        tables=(_comparisons(summary), _gate(summary), _overlap(summary)),
        overlap="" if summary.overlap is None else describe_overlap(summary.overlap),
        charts=charts,
        flips=flips,
        samples=samples,
        samples_total=summary.samples,
        protocol=_protocol(summary),
    )


def write_report(report: EvaluationReport, directory: Path) -> None:
    """Write the page and the text for a model card."""
    (directory / PAGE_NAME).write_text(render_page(report), encoding="utf-8")
    (directory / CARD_NAME).write_text(render_card(report), encoding="utf-8")


def score_of(name: str, summary: Summary) -> Score:
    """Give the score of an evaluation."""
    return Score(name, summary.score, summary.interval.low, summary.interval.high, summary.problems)


def published_score(name: str, score: float, problems: int) -> Score:
    """Give a score that somebody has published, with the interval of one answer to each of so many problems."""
    low, high = wilson_interval(score / 100, problems)
    return Score(name, score, 100 * low, 100 * high, problems)


def _group(group: Group) -> Score:
    return Score(group.value, group.score, group.interval.low, group.interval.high, group.problems)


def _figures(summary: Summary) -> dict[str, str]:
    figures = {
        "score (pass@1)": f"{summary.score:.1f} %",
        "95 % interval": f"{summary.interval.low:.1f}–{summary.interval.high:.1f}",
        "problems": f"{summary.problems:,}",
        "samples": f"{summary.samples:,}",
        "truncated": f"{summary.truncated_rate:.1f} %",
        "unanswered": f"{summary.unanswered_rate:.1f} %",
        "error over problems": f"{summary.stderr:.2f}",
        "smallest difference": f"{summary.smallest_difference:.1f}",
    }
    if summary.run_stderr is not None:
        figures["error over runs"] = f"{summary.run_stderr:.2f}"
    if summary.samples_per_problem > 1:
        for name, shares in (("pass", summary.pass_at), ("maj", summary.maj_at)):
            k = max(shares, key=int)
            figures[f"{name}@{k}"] = f"{shares[k]:.1f} %"
    return figures


def _comparisons(summary: Summary) -> Table:
    columns = ("baseline", "difference", "95 % interval", "p", "better / worse", "method", "what differs in protocol")
    return Table(title="Beside the baselines", columns=columns, rows=tuple(map(_comparison, summary.comparisons)))


def _comparison(found: Comparison) -> tuple[str, ...]:
    differs = ", ".join(found.differs) or ("not known" if found.method == "unpaired" else "nothing")
    if found.difference is None:
        return found.name, f"none: {found.reason}", "–", "–", "–", found.method, differs
    flipped = "–" if found.better is None else f"{found.better} / {found.worse}"
    interval = f"{found.difference_low:+.1f} to {found.difference_high:+.1f}"
    return found.name, f"{found.difference:+.1f}", interval, _p(found), flipped, found.method, differs


def _p(found: Comparison) -> str:
    return "–" if found.p_value is None else describe_p(found.p_value)


def _gate(summary: Summary) -> Table:
    if summary.gate is None:
        return Table(title="Gate", columns=(), rows=())
    rows = tuple((shortfall,) for shortfall in summary.gate.shortfalls) or (("It holds.",),)
    return Table(title="Gate", columns=("what falls short" if summary.gate.shortfalls else "verdict",), rows=rows)


def _overlap(summary: Summary) -> Table:
    title = "Problems that training prompts share words with"
    if summary.overlap is None:
        return Table(title=title, columns=(), rows=())
    if summary.overlap.unknown is not None:
        return Table(title=title, columns=("not known",), rows=((summary.overlap.unknown,),))
    columns = ("words in a row", "problems", "of all", "score without them", "95 % interval", "of problems")
    return Table(title=title, columns=columns, rows=tuple(map(_overlap_of, summary.overlap.by_words)))


def _overlap_of(found: OverlapOf) -> tuple[str, ...]:
    score, interval = found.clean_score, found.clean_interval
    clean = "–" if score is None else f"{score:.1f} %"
    span = "–" if interval is None else f"{interval.low:.1f} to {interval.high:.1f}"
    return str(found.words), f"{found.problems:,}", f"{found.rate:.1f} %", clean, span, f"{found.clean_problems:,}"


def _protocol(summary: Summary) -> dict[str, str]:
    """Word how it was asked and scored, as far as the score depends on it, and the fingerprints of what was."""
    values: Mapping[str, object] = summary.protocol
    worded = {name: str(value) for name, value in values.items() if name not in _OPERATIONAL}
    fingerprint = {
        name: str(value)
        for name, value in summary.fingerprint.to_json().items()
        if name not in ("systemPrompt", "maxTokens")
    }
    unknown = {} if summary.fingerprint.tokenizer is not None else {"tokenizer": "not known"}
    named = {f"{name} (fingerprint)" if name in worded else name: text for name, text in fingerprint.items()}
    return worded | named | unknown
