"""Whether an evaluation holds what its gate asks for, and what falls short."""

from collections.abc import Iterator, Sequence

from distill_runtime.contract import Gate
from distill_runtime.contract.comparison import Comparison, GateVerdict
from distill_runtime.evaluation.summary import Summary


def judge(gate: Gate, summary: Summary, comparisons: Sequence[Comparison]) -> GateVerdict:
    """Hold an evaluation against its gate.

    `noWorseThan` is shown, not assumed: the 95 % interval of the difference must lie above minus the margin, as in
    trials of non-inferiority, so that too few problems do not pass for an equal model.

    Args:
        comparisons: one with each evaluation that the gate names.
    """
    shortfalls = tuple(_shortfalls(gate, summary, {each.name: each for each in comparisons}))
    return GateVerdict(held=not shortfalls, shortfalls=shortfalls)


def _shortfalls(gate: Gate, summary: Summary, comparisons: dict[str, Comparison]) -> Iterator[str]:
    if gate.min_score is not None and summary.score < gate.min_score:
        yield f"the score is {summary.score:.2f}, minScore {gate.min_score:g}"
    if gate.max_truncated_rate is not None and summary.truncated_rate > gate.max_truncated_rate:
        yield (
            f"{summary.truncated_rate:.2f} % of the answers were cut off, maxTruncatedRate is "
            f"{gate.max_truncated_rate:g}"
        )
    for limit in gate.no_worse_than:
        found = comparisons[limit.name]
        if found.difference is None or found.difference_low is None:
            yield f"there is no difference to {limit.name}: {found.reason}"
        elif found.difference_low < -limit.margin:
            yield (
                f"not shown to be no worse than {limit.name} by {limit.margin:g} points: the difference is "
                f"{found.difference:+.2f}, its interval goes down to {found.difference_low:+.2f}"
            )
