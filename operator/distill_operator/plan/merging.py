"""What the Pods of a stage say, put together: results when they have ended, progress while they run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from distill_operator.observation import PodView
from distill_operator.plan.reports import parse_result
from distill_operator.plan.stages import Teamwork
from distill_runtime.contract import Progress, Result

_SUMS = frozenset({"inFlight", "tokensPerSecond"})
"""Metrics of which the shards have a part each."""


def merge_results(pods: Iterable[PodView], expected: int, teamwork: Teamwork) -> Result | None:
    """Give the result of a stage whose Job is complete.

    `expected` is how many Pods have to say something; None means that at least one of them cannot be heard any more.
    """
    results: dict[int, Result] = {}
    for pod in pods:
        result = parse_result(pod)
        if pod.phase == "Succeeded" and result is not None and result.outcome == "Succeeded":
            results[pod.index] = result
    if teamwork is Teamwork.TOGETHER:
        return results.get(0)
    if len(results) < expected:
        return None
    if expected == 1:
        return results[0]
    counts: Counter[str] = Counter()
    for result in results.values():
        counts.update(result.counts)
    return Result(
        outcome="Succeeded",
        reason=results[0].reason,
        message=f"All {expected} shards are complete.",
        counts=dict(counts),
        inputs=tuple(dict.fromkeys(each for result in results.values() for each in result.inputs)),
    )


def merge_progress(
    pods: Sequence[PodView], progress: Mapping[str, Progress], expected: int, teamwork: Teamwork
) -> Progress | None:
    """Give the progress of a running stage from that of its Pods, by Pod name; None while none is known.

    A shard that has ended counts with its result. While one of the `expected` Pods has said nothing yet, there is no
    total, nor an ETA: what it has to do is not known.
    """
    known = [(pod, progress[pod.name]) for pod in pods if not pod.finished and pod.name in progress]
    if not known:
        return None
    first = min(known, key=lambda item: item[0].index)[1]
    if teamwork is Teamwork.TOGETHER or expected == 1:
        return first
    ended = [result.counts for pod in pods if pod.phase == "Succeeded" and (result := parse_result(pod)) is not None]
    ended_units = sum(result_counts.get(first.unit, 0) for result_counts in ended)
    values = [one for _, one in known]
    counts: Counter[str] = Counter()
    for some in (*ended, *(one.counts for one in values)):
        counts.update(some)
    totals = [one.total for one in values if one.total is not None]
    complete = len(totals) + len(ended) == expected
    return first.model_copy(
        update={
            "done": ended_units + sum(one.done for one in values),
            "total": ended_units + sum(totals) if complete else None,
            "rate": sum(one.rate or 0 for one in values),
            "eta_seconds": max(one.eta_seconds or 0 for one in values) if complete else None,
            "counts": dict(counts),
            "metrics": {**first.metrics, **_added_up(values)},
        }
    )


def _added_up(values: Sequence[Progress]) -> dict[str, float]:
    """Give the figures that are the sum of those of the shards."""
    names = {name for one in values for name in one.metrics if name in _SUMS}
    return {name: sum(one.metrics.get(name, 0.0) for one in values) for name in sorted(names)}


def readable(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave fractions six digits, which nobody measures to more; an artifact's manifest has them all."""
    return {name: value if value.is_integer() else float(f"{value:.6g}") for name, value in metrics.items()}
