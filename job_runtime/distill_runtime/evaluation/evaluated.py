"""An evaluation that is scored: the one value that all its outputs are made from, besides the answers' texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from distill_runtime.contract import EvalContract
from distill_runtime.evaluation.score import UNANSWERED, ProblemResult, Sample
from distill_runtime.evaluation.summary import Summary
from distill_runtime.foundation.rows import CUT_OFF

TRUNCATED = "truncated"
"""What is said of an answer that was cut off and is not right, whatever was found in it."""


@dataclass(frozen=True)
class Evaluated:
    """What was asked, and what came of it.

    Attributes:
        contract: what was asked.
        results: the problems in the benchmark's order.
        summary: what they tell.
        packages: versions that have a bearing on the score.
        started, completed: when this process began and was done; an evaluation that was interrupted took longer.
    """

    contract: EvalContract
    results: Sequence[ProblemResult]
    summary: Summary
    packages: Mapping[str, str]
    started: datetime
    completed: datetime

    @property
    def model(self) -> str:
        """What was evaluated."""
        return model_of(self.contract.target.to_json())


def model_of(target: Mapping[str, Any]) -> str:
    """Name what was evaluated: by the name that an endpoint has for it, or by where the weights are.

    Args:
        target: of an eval contract, as JSON.
    """
    if "deviceTarget" not in target:
        return str(target["model"])
    weights = target.get("weights") or {}
    return str(weights.get("uri") or target["uri"])


def verdict_of(sample: Sample) -> str:
    """Give what people look for a sample by."""
    if sample.reason is None:
        return UNANSWERED
    if sample.finish_reason == CUT_OFF and not sample.correct:
        return TRUNCATED
    return sample.reason


def choose_samples(results: Sequence[ProblemResult], most: int) -> set[tuple[str, int]]:
    """Choose samples to show, by uuid and number: as many of each verdict as there is room for, spread evenly."""
    verdicts = Counter(verdict_of(sample) for result in results for sample in result.samples)
    room, quotas = most, dict.fromkeys(verdicts, 0)
    # The rarest first: what it leaves of its part is the others'.
    for place, (verdict, number) in enumerate(sorted(verdicts.items(), key=lambda item: (item[1], item[0]))):
        quotas[verdict] = min(number, room // (len(verdicts) - place))
        room -= quotas[verdict]
    seen: Counter[str] = Counter()
    chosen = set()
    for result in results:
        for sample in result.samples:
            verdict = verdict_of(sample)
            number, quota = seen[verdict], quotas[verdict]
            if (number + 1) * quota // verdicts[verdict] > number * quota // verdicts[verdict]:
                chosen.add((result.uuid, sample.number))
            seen[verdict] += 1
    return chosen
