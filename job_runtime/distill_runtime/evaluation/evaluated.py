"""An evaluation that is scored: the one value that all its outputs are made from, besides the answers' texts."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from distill_runtime.contract import EvalContract, Protocol
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.score import UNANSWERED, ProblemResult, Sample
from distill_runtime.foundation.rows import CUT_OFF

TRUNCATED = "truncated"
"""What is said of an answer that was cut off and is not right, whatever was found in it."""


@dataclass(frozen=True)
class Evaluated:
    """What was asked, and what came of it.

    Attributes:
        contract: what was asked.
        results: the problems in the benchmark's order.
        counts, metrics: as the result has them.
        packages: versions that have a bearing on the score.
        started, completed: when this process began and was done; an evaluation that was interrupted took longer.
    """

    contract: EvalContract
    results: Sequence[ProblemResult]
    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    packages: Mapping[str, str]
    started: datetime
    completed: datetime

    @property
    def model(self) -> str:
        """What was evaluated: the name that an endpoint has for it, or where the weights are."""
        target = self.contract.target
        if isinstance(target, EndpointTarget):
            return target.model
        return target.weights.uri if target.weights is not None else str(target.uri)

    @property
    def benchmark(self) -> str:
        """Name that the score is reported under."""
        return self.contract.benchmark.name

    @property
    def stderr(self) -> float | None:
        """Standard error of the score over problems, in percent; None of a single one."""
        if len(self.results) == 1:
            return None
        return 100 * statistics.stdev(result.score for result in self.results) / math.sqrt(len(self.results))

    def protocol(self) -> dict[str, str]:
        """Word how it was asked and scored, as far as the score depends on it."""
        protocol = self.contract.protocol
        values = protocol.model_dump(mode="json", by_alias=True, exclude_none=True)
        operational = {field.alias for field in Protocol.model_fields.values() if OPERATIONAL in field.metadata}
        worded = {name: str(value) for name, value in values.items() if name not in operational}
        return worded | dict(self.packages)


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
