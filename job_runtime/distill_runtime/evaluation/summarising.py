"""From judged samples to the summary of an evaluation, and from that to the figures of its result."""

from collections.abc import Mapping, Sequence

from distill_runtime.contract import Protocol
from distill_runtime.evaluation.breakdown import by_column, by_length
from distill_runtime.evaluation.estimates import (
    ladder,
    maj_at,
    pass_at,
    run_standard_error,
    smallest_difference,
    standard_error,
)
from distill_runtime.evaluation.interval import clustered_interval
from distill_runtime.evaluation.overlap import describe_overlap
from distill_runtime.evaluation.score import UNANSWERED, ProblemResult
from distill_runtime.evaluation.summary import Interval, Overlap, ProtocolFingerprint, Summary


def summarise(
    benchmark: str,
    protocol: Protocol,
    fingerprint: ProtocolFingerprint,
    results: Sequence[ProblemResult],
    counts: Mapping[str, int],
    columns: Mapping[str, Mapping[str, str | None]],
    overlap: Overlap,
) -> Summary:
    """Give all that the samples tell, in percent.

    The score is pass@1, the mean over all samples. Its interval is over problems: samples of one problem are not
    independent, so that more of them make the score steadier but not the benchmark larger.

    Args:
        counts: as `count_samples` gives them.
        columns: to break the score down by, each with its value by the uuid of the problem.
        overlap: with the training data.
    """
    samples = protocol.samples_per_problem
    shares = [result.score for result in results]
    low, high = clustered_interval(shares, samples)
    run_stderr = run_standard_error(shares, samples)
    return Summary(
        benchmark=benchmark,
        score=100 * sum(shares) / len(shares),
        interval=Interval(low=100 * low, high=100 * high, method="wilson" if samples == 1 else "effectiveSampleSize"),
        stderr=100 * standard_error(shares),
        run_stderr=100 * run_stderr if run_stderr is not None else None,
        smallest_difference=100 * smallest_difference(low, high),
        problems=len(results),
        samples=counts["samples"],
        samples_per_problem=samples,
        pass_at={str(k): 100 * pass_at(results, k) for k in ladder(samples)},
        maj_at={str(k): 100 * maj_at(results, k) for k in ladder(samples)},
        truncated_rate=100 * counts["truncated"] / counts["samples"],
        unanswered_rate=100 * counts[UNANSWERED] / counts["samples"],
        counts=dict(counts),
        breakdowns=(*(by_column(results, name, values) for name, values in columns.items()), by_length(results)),
        overlap=overlap,
        protocol=protocol.to_json(),
        fingerprint=fingerprint,
    )


def metrics_of(summary: Summary) -> dict[str, float]:
    """Give the figures that a result has room for; pass@k and maj@k where there is more than one sample a problem."""
    several = summary.samples_per_problem > 1
    return {
        "score": summary.score,
        "scoreLow": summary.interval.low,
        "scoreHigh": summary.interval.high,
        "stderr": summary.stderr,
        **({"runStderr": summary.run_stderr} if summary.run_stderr is not None else {}),
        "smallestDifference": summary.smallest_difference,
        **({f"pass@{k}": share for k, share in summary.pass_at.items()} if several else {}),
        **({f"maj@{k}": share for k, share in summary.maj_at.items()} if several else {}),
        "truncatedRate": summary.truncated_rate,
        "unansweredRate": summary.unanswered_rate,
        **_overlap_metrics(summary.overlap),
    }


def _overlap_metrics(overlap: Overlap | None) -> dict[str, float]:
    """Give the figures of the shortest run of words, as far as they are known."""
    if overlap is None or not overlap.by_words:
        return {}
    found = overlap.by_words[0]
    if found.clean_score is None or found.clean_interval is None:
        return {"overlapRate": found.rate}
    return {
        "overlapRate": found.rate,
        "cleanScore": found.clean_score,
        "cleanScoreLow": found.clean_interval.low,
        "cleanScoreHigh": found.clean_interval.high,
    }


def describe(summary: Summary) -> str:
    """Say in one line what the score is, and what qualifies it."""
    text = (
        f"{summary.benchmark}: {summary.score:.1f} % (95 % interval {summary.interval.low:.1f} to "
        f"{summary.interval.high:.1f}, {summary.problems} problems"
    )
    samples = summary.samples_per_problem
    text += f" x {samples} samples)" if samples > 1 else ")"
    if truncated := summary.counts["truncated"]:
        text += f"; {truncated} answers were cut off at maxTokens or at the end of the context"
    if unanswered := summary.counts["unanswered"]:
        text += f"; {unanswered} were not answered and count as wrong"
    if summary.overlap is not None and any(found.problems for found in summary.overlap.by_words):
        text += f"; {describe_overlap(summary.overlap)}"
    return text
