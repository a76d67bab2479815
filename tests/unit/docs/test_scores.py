"""The table of the recipe's scores is what a report on them is."""

from pathlib import Path

from distill_runtime.evaluation.summary_report import published_score
from distill_runtime.reporting.evaluation import EvaluationReport, render_card

PAGE = Path(__file__).parents[3] / "docs" / "openr1-qwen-7b.md"
PUBLISHED = {
    "DeepSeek-Distill-Qwen-7B": 91.6,
    "OpenR1-Qwen-7B (HuggingFace)": 90.6,
    "OpenR1-Qwen-7B (MindSpore Transformers)": 90.0,
    "OpenThinker-7B": 89.6,
}
"""MATH-500, as the recipe's README has them; one answer to each of 500 problems."""


def test_the_recipes_table_is_a_report() -> None:
    scores = {name: published_score(name, score, 500) for name, score in PUBLISHED.items()}
    own = scores.pop("OpenR1-Qwen-7B (MindSpore Transformers)")
    report = EvaluationReport(
        benchmark="MATH-500",
        own=own,
        baselines=tuple(scores.values()),
        sentence="",
        overlap="",
        figures={},
        breakdowns={},
        tables=(),
        charts=(),
        flips=(),
        samples=(),
        samples_total=500,
        protocol={},
    )
    card = render_card(report)
    assert card in PAGE.read_text(), f"docs/{PAGE.name} must have:\n{card}"
