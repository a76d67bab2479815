"""Problems on which two evaluations differ, with an answer of each: what a difference of scores is made of."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from distill_runtime.client.journal import read_chosen
from distill_runtime.client.values import request_key
from distill_runtime.evaluation.comparing import Evaluation, flipped_lines
from distill_runtime.evaluation.outputs import shown_sample
from distill_runtime.evaluation.score import ANSWERS_NAME, UNANSWERED, ProblemResult, Sample
from distill_runtime.reporting.evaluation import Flips
from distill_runtime.reporting.samples import Flip

_MOST_SHOWN: Final = 30
"""Problems, of each baseline, each with two answers of at most some 6 KB."""


def show_flips(baseline: str, ours: Evaluation, theirs: Evaluation, flipped: Sequence[str]) -> Flips:
    """Read the answers to some of the problems that were solved by one side more often than by the other.

    Args:
        baseline: name of theirs.
        flipped: the uuids of these problems.
    """
    step = max(1, -(-len(flipped) // _MOST_SHOWN))
    chosen = list(flipped_lines(baseline, ours, theirs, flipped[::step]))
    sides = [
        _answers(ours.path.parent, ((line, line["samples"], line["difference"] > 0) for line in chosen)),
        _answers(theirs.path.parent, ((line, line["baselineSamples"], line["difference"] < 0) for line in chosen)),
    ]
    shown = []
    for number, (line, *both) in enumerate(zip(chosen, *sides, strict=True)):
        our, their = (
            shown_sample(
                number * step + 1, ProblemResult(line["uuid"], line["problem"], line["answer"], (each,)), each, record
            )
            for each, record in both
        )
        shown.append(Flip(our, their))
    return Flips(baseline, shown, len(flipped))


def _answers(
    directory: Path, wanted: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], bool]]
) -> list[tuple[Sample, Mapping[str, Any]]]:
    """Find, for each problem, a sample that is right or one that is not, as the side has more of, and its answer."""
    chosen = []
    for line, samples, better in wanted:
        sample = next((each for each in samples if each["correct"] == better), samples[0])
        chosen.append((request_key(line["uuid"], sample["sample"]), _sample(sample)))
    records = read_chosen(directory / ANSWERS_NAME, {key for key, _ in chosen})
    return [(sample, records[key]) for key, sample in chosen]


def _sample(line: Mapping[str, Any]) -> Sample:
    reason = None if line["reason"] == UNANSWERED else line["reason"]
    return Sample(line["sample"], reason, line["extracted"], line["finishReason"])
