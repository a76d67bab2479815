"""The score by parts of a benchmark: by the columns that its problems have, and by the length of the answers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from distill_runtime.evaluation.interval import clustered_interval
from distill_runtime.evaluation.score import ProblemResult, Sample
from distill_runtime.evaluation.summary import Breakdown, Group, Interval
from distill_runtime.foundation.rows import CUT_OFF

BY_LENGTH: Final = "completionTokens"
NO_VALUE: Final = "(none)"
"""Group of the problems that have nothing in the column, and of the answers whose length the server did not tell."""
MOST_GROUPS: Final = 100
OTHERS: Final = "(others)"
_SHORTEST: Final = 1024


def by_column(results: Sequence[ProblemResult], column: str, values: Mapping[str, str | None]) -> Breakdown:
    """Give the score of the problems with each value of a column.

    Of more than `MOST_GROUPS` values, as of an identifier, the smallest groups are one.

    Args:
        values: of the column, by the uuid of the problem.
    """
    parts: dict[str, list[ProblemResult]] = {}
    for result in results:
        parts.setdefault(values[result.uuid] or NO_VALUE, []).append(result)
    kept = sorted(parts, key=lambda value: (-len(parts[value]), value))[:MOST_GROUPS]
    groups = [_group(value, [result.samples for result in parts[value]]) for value in sorted(kept)]
    rest = [result.samples for value, part in parts.items() if value not in kept for result in part]
    return Breakdown(by=column, groups=(*groups, *([_group(OTHERS, rest)] if rest else [])))


def by_length(results: Sequence[ProblemResult]) -> Breakdown:
    """Give the score of the answers of each length, in tokens, from 1,024 on each span twice as long as that before.

    The length is no cause: hard problems have long answers.
    """
    spans: dict[int, dict[str, list[Sample]]] = {}
    for result in results:
        for sample in result.samples:
            spans.setdefault(_span(sample.completion_tokens), {}).setdefault(result.uuid, []).append(sample)
    return Breakdown(by=BY_LENGTH, groups=tuple(_group(_label(span), spans[span].values()) for span in sorted(spans)))


def _span(tokens: int | None) -> int:
    """Number a span of lengths, from 0; -1 is that of the unknown ones."""
    return -1 if tokens is None else (tokens // _SHORTEST).bit_length()


def _label(span: int) -> str:
    if span < 0:
        return NO_VALUE
    first = _SHORTEST << (span - 1) if span else 0
    return f"{first}-{(_SHORTEST << span) - 1}"


def _group(value: str, problems: Iterable[Sequence[Sample]]) -> Group:
    """Score a part: the mean of its problems, which may have different numbers of answers in it."""
    answered = list(problems)
    samples = [sample for part in answered for sample in part]
    shares = [sum(sample.correct for sample in part) / len(part) for part in answered]
    low, high = clustered_interval(shares, max(len(part) for part in answered))
    return Group(
        value=value,
        problems=len(answered),
        samples=len(samples),
        score=100 * math.fsum(shares) / len(shares),
        interval=Interval(
            low=100 * low,
            high=100 * high,
            method="wilson" if len(samples) == len(answered) else "effectiveSampleSize",
        ),
        truncated_rate=100 * sum(sample.finish_reason == CUT_OFF for sample in samples) / len(samples),
    )
