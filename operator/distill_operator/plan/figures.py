"""The figures of each kind's status, from the counts and metrics that its stages reported."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from distill_operator.api import DistillDataset, EvalRun, FinetuneRun, StageState, StageStatus
from distill_operator.api.dataset import TeacherStatus
from distill_operator.api.judge import JudgeStatus
from distill_operator.api.probe import ProbeStatus
from distill_operator.plan.reports import LARGEST_COUNT
from distill_runtime.contract import Price, TeacherModel, TeacherParameters
from distill_runtime.contract.comparison import Comparison

_LATEST = 2**32
"""Seconds after 1970, in the year 2106."""
REJECTED = "rejected."
"""Prefix of the counts that say how many were rejected for which reason."""


def dataset_figures(dataset: DistillDataset, stages: Mapping[str, StageStatus]) -> dict[str, Any]:
    """Give a DistillDataset's figures, as far as its stages have reported them."""
    teacher = dataset.spec.teacher
    generate, verified, selected, pack = (_counts(stages, name) for name in ("generate", "filter", "select", "pack"))
    # What select leaves out is rejected too, so that generations = kept + every rejected.
    rejected = Counter[str]()
    for name, count in (*verified.items(), *selected.items()):
        if name.startswith(REJECTED):
            rejected[name.removeprefix(REJECTED)] += count
    return {
        "prompts": generate.get("prompts", verified.get("rows")),
        "prompts_done": _prompts_done(generate, teacher) if teacher else _rows_done(stages.get("filter")),
        "generations": generate.get("generations", verified.get("generations")),
        "teacher_tokens": generate.get("completionTokens"),
        "tokens_per_second": _rounded(_speed(stages.get("generate")), 1),
        "cost": _cost_of_all(generate, teacher) if teacher else None,
        "teachers": _by_teacher(generate, verified, teacher) if teacher else None,
        "kept": selected.get("kept", verified.get("kept")),
        "rejected": dict(rejected),
        "acceptance_rate": _rounded(_metrics(stages, "filter").get("acceptanceRate"), 4),
        "judge": _judge(stages.get("filter")),
        "probe": _probe(stages),
        "rows": pack.get("sequences"),
        "tokens": pack.get("tokens"),
    }


def finetune_figures(_: FinetuneRun, stages: Mapping[str, StageStatus]) -> dict[str, Any]:
    """Give a FinetuneRun's figures, as far as its preflight and its training have reported them."""
    preflight = _counts(stages, "train-preflight")
    memory = _metrics(stages, "train-preflight") | _metrics(stages, "train")
    planned = {
        "global_batch_size": preflight.get("globalBatchSize"),
        "total_steps": preflight.get("totalSteps"),
        "memory_per_device": _quantity(memory.get("memoryPerDevice")),
        "device_memory": _quantity(memory.get("deviceMemory")),
    }
    train = stages.get("train")
    if train is None:
        return planned
    metrics, counts = train.metrics, train.counts
    paused = train.state is StageState.PENDING
    disruptions = sum(attempt < train.attempt for attempt in train.disrupted)
    return {
        **planned,
        "epoch": counts.get("epoch"),
        "step": _steps_done(train),
        "total_steps": train.total if train.total is not None else planned["total_steps"],
        "global_batch_size": counts.get("globalBatchSize", planned["global_batch_size"]),
        "loss": _rounded(metrics.get("loss"), 4),
        "learning_rate": _significant(metrics.get("learningRate")),
        "gradient_norm": _significant(metrics.get("gradientNorm")),
        "tokens_per_second": None if paused else _rounded(metrics.get("tokensPerSecond"), 1),
        "model_flops_utilization": None if paused else _rounded(metrics.get("modelFlopsUtilization"), 4),
        "last_checkpoint_step": counts.get("lastCheckpointStep"),
        "last_checkpoint_time": _time(metrics.get("lastCheckpointTime")),
        "restarts": train.attempt - 1 - disruptions,
        "disruptions": disruptions,
        "lost_steps": _whole(metrics.get("lostSteps")),
    }


def evaluation_figures(_: EvalRun, stages: Mapping[str, StageStatus]) -> dict[str, Any]:
    """Give an EvalRun's score and what it rests on, once known."""
    evaluation = stages.get("eval")
    if evaluation is None:
        return {}
    counts, metrics = evaluation.counts, evaluation.metrics
    compare = stages.get("compare")
    judgement = compare.judgement if compare is not None else None
    comparisons = judgement.comparisons if judgement is not None else ()
    score, low, high = (_rounded(metrics.get(name), 1) for name in ("score", "scoreLow", "scoreHigh"))
    return {
        "score": score,
        "score_low": low,
        "score_high": high,
        "interval": _interval(low, high),
        "stderr": _rounded(metrics.get("stderr"), 2),
        "run_stderr": _rounded(metrics.get("runStderr"), 2),
        "smallest_difference": _rounded(metrics.get("smallestDifference"), 1),
        "pass_at": _by_samples(metrics, "pass@"),
        "maj_at": _by_samples(metrics, "maj@"),
        "problems": counts.get("problems"),
        "samples": counts.get("samples"),
        "truncated_rate": _rounded(metrics.get("truncatedRate"), 2),
        "unanswered_rate": _rounded(metrics.get("unansweredRate"), 2),
        "judge": _judge(evaluation),
        "overlap_rate": _rounded(metrics.get("overlapRate"), 2),
        "clean_score": _rounded(metrics.get("cleanScore"), 1),
        "clean_interval": _interval(metrics.get("cleanScoreLow"), metrics.get("cleanScoreHigh")),
        "comparison": comparisons,
        "difference": _difference(comparisons),
        "gate": judgement.gate if judgement is not None else None,
    }


def _interval(low: float | None, high: float | None) -> str | None:
    return f"{low:.1f}–{high:.1f}" if low is not None and high is not None else None


def _difference(comparisons: Sequence[Comparison]) -> str | None:
    """Give the first difference, in points, with its interval, as it is read in a table."""
    first = comparisons[0] if comparisons else None
    if first is None or first.difference is None:
        return None
    return f"{first.difference:+.1f} ({first.difference_low:+.1f} to {first.difference_high:+.1f})"


def _by_samples(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Give the figures whose names are the prefix and a number of samples, by that number."""
    return {
        name.removeprefix(prefix): round(value, 1)
        for name, value in metrics.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
    }


def _probe(stages: Mapping[str, StageStatus]) -> ProbeStatus | None:
    """Give what has come of a probe, once it has reported."""
    counts = _counts(stages, "probe")
    if not counts:
        return None
    return ProbeStatus(
        generations=counts.get("generations"),
        tokens=counts.get("completionTokens"),
        pass_rate=_rounded(_metrics(stages, "probe-verify").get("acceptanceRate"), 4),
    )


def _judge(stage: StageStatus | None) -> JudgeStatus | None:
    """Give what a judge has said, once the stage has reported it."""
    if stage is None or "judge.asked" not in stage.counts:
        return None
    counts, metrics = stage.counts, stage.metrics
    doubted = [name for name in counts if name.startswith("judge.") and not name.startswith("judge.correct.")]
    return JudgeStatus(
        asked=counts["judge.asked"],
        accepted=counts.get("judge.accepted", 0),
        no_verdict=sum(counts[name] for name in doubted if name.endswith((".noVerdict", ".failed"))),
        false_accept_rate=_rounded(metrics.get("judgeFalseAcceptRate"), 4),
        false_reject_rate=_rounded(metrics.get("judgeFalseRejectRate"), 4),
    )


def _prompts_done(counts: Mapping[str, int], teacher: TeacherParameters) -> int | None:
    """Give the prompts that are settled. A prompt's generations are asked one after another, so that the number is
    right to within those under way."""
    generations = counts.get("generations")
    return generations // teacher.sampling.generations_per_prompt if generations is not None else None


def _steps_done(train: StageStatus) -> int | None:
    """Give the steps that are done; of a training that ended while nobody followed it, only its result says them."""
    return train.counts.get("steps", train.done) if train.state is StageState.SUCCEEDED else train.done


def _rows_done(verified: StageStatus | None) -> int | None:
    """Give the rows that are verified; in the end all that were read, which the last progress need not have said."""
    if verified is None:
        return None
    rows = verified.counts.get("rows")
    if verified.state is StageState.SUCCEEDED:
        return rows
    # Behind the rows, what a judge was asked about is counted as done too.
    return verified.done if rows is None or verified.done is None else min(verified.done, rows)


def _speed(generate: StageStatus | None) -> float | None:
    """Give the tokens a second; a stage that has been paused or has ended is not at any speed."""
    if generate is None or generate.state is not StageState.RUNNING:
        return None
    return generate.metrics.get("tokensPerSecond")


def _cost(counts: Mapping[str, int], price: Price | None) -> str | None:
    """Give what the answers have cost; of answers without usage nobody knows."""
    if price is None or not {"promptTokens", "completionTokens"} <= counts.keys() or counts.get("uncountedAnswers"):
        return None
    return price.cost(counts["promptTokens"], counts["completionTokens"])


def _cost_of_all(counts: Mapping[str, int], teacher: TeacherParameters) -> str | None:
    """Give what all teachers have cost together: the same currency is added up, and of one without a price the whole
    is not known."""
    if not teacher.additional_models:
        return _cost(counts, teacher.price)
    costs = [_cost(_of_teacher(counts, number), each.price) for number, each in enumerate(teacher.models)]
    amounts = [cost.split() for cost in costs if cost is not None]
    currencies = {currency for _, currency in amounts}
    if len(amounts) < len(costs) or len(currencies) > 1:
        return None
    return f"{sum(Decimal(amount) for amount, _ in amounts)} {currencies.pop()}"


def _by_teacher(
    generate: Mapping[str, int], verified: Mapping[str, int], teacher: TeacherParameters
) -> tuple[TeacherStatus, ...] | None:
    """Give each teacher's figures, where there are several and they have begun."""
    if not teacher.additional_models or not generate:
        return None
    return tuple(
        _teacher_status(each, _of_teacher(generate, number), _of_teacher(verified, number))
        for number, each in enumerate(teacher.models)
    )


def _teacher_status(model: TeacherModel, asked: Mapping[str, int], judged: Mapping[str, int]) -> TeacherStatus:
    tokens, counted = asked.get("completionTokens"), asked.get("answered", 0) - asked.get("uncountedAnswers", 0)
    generations, accepted = judged.get("generations"), judged.get("accepted")
    return TeacherStatus(
        model=model.model,
        generations=asked.get("generations"),
        acceptance_rate=round(accepted / generations, 4) if generations and accepted is not None else None,
        teacher_tokens=tokens,
        mean_tokens=round(tokens / counted, 1) if tokens is not None and counted > 0 else None,
        cost=_cost(asked, model.price),
    )


def _of_teacher(counts: Mapping[str, int], number: int) -> dict[str, int]:
    prefix = f"teachers.{number}."
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}


def _counts(stages: Mapping[str, StageStatus], name: str) -> dict[str, int]:
    stage = stages.get(name)
    return stage.counts if stage is not None else {}


def _metrics(stages: Mapping[str, StageStatus], name: str) -> dict[str, float]:
    stage = stages.get(name)
    return stage.metrics if stage is not None else {}


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None else None


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and abs(value) <= LARGEST_COUNT else None


def _significant(value: float | None) -> float | None:
    """Leave four digits: learning rates are far below one."""
    return float(f"{value:.4g}") if value is not None else None


def _time(seconds: float | None) -> datetime | None:
    """Give the time so many seconds after 1970; what is no time within a lifetime is none that anybody meant."""
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and 0 < seconds < _LATEST else None


def _quantity(amount: float | None) -> str | None:
    """Give bytes as people read them, in the form of Kubernetes' quantities."""
    return f"{amount / 2**30:.1f}Gi".replace(".0Gi", "Gi") if amount is not None else None
