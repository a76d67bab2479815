"""The figures of each kind's status, from what its stages reported."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from unit.operator.builders import resource, stage_status, succeeded_stage

from distill_operator.api import StageState, StageStatus
from distill_operator.plan.figures import dataset_figures, evaluation_figures, finetune_figures


def known(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if value not in (None, {})}


def by_name(*stages: StageStatus) -> dict[str, StageStatus]:
    return {stage.name: stage for stage in stages}


DATASET = resource("DistillDataset")


@pytest.mark.parametrize(
    ("figures", "kind"),
    [(dataset_figures, "DistillDataset"), (finetune_figures, "FinetuneRun"), (evaluation_figures, "EvalRun")],
)
def test_nothing_is_made_up_before_a_stage_has_reported(figures: Any, kind: str) -> None:
    assert known(figures(resource(kind), {})) == {}


class TestGenerating:
    TEACHER: ClassVar = {
        "endpoints": ["http://teacher/v1"],
        "model": "deepseek-r1",
        "sampling": {"generationsPerPrompt": 2},
        "price": {"promptTokensPerMillion": 0.55, "completionTokensPerMillion": 2.19, "currency": "EUR"},
    }
    COUNTS: ClassVar = {"prompts": 100, "generations": 31, "promptTokens": 200_000, "completionTokens": 4_000_000}

    def figures(
        self, state: StageState = StageState.RUNNING, counts: Mapping[str, int] = COUNTS, **teacher: Any
    ) -> dict[str, Any]:
        generate = stage_status("generate", state, counts=counts, metrics={"tokensPerSecond": 5000.123})
        dataset = resource("DistillDataset", {"teacher": {**self.TEACHER, **teacher}})
        return known(dataset_figures(dataset, by_name(generate)))

    def test_is_shown_while_it_runs(self) -> None:
        assert self.figures() == {
            "prompts": 100,
            "prompts_done": 15,
            "generations": 31,
            "teacher_tokens": 4_000_000,
            "tokens_per_second": 5000.1,
            "cost": "8.87 EUR",
        }

    def test_has_no_cost_without_a_price(self) -> None:
        assert "cost" not in self.figures(price=None)

    @pytest.mark.parametrize("missing", ["promptTokens", "completionTokens"])
    def test_has_no_cost_without_both_counts(self, missing: str) -> None:
        """One that no status can hold is left out of what a Pod says."""
        counts = {name: count for name, count in self.COUNTS.items() if name != missing}
        assert "cost" not in self.figures(counts=counts)

    def test_has_no_cost_while_some_answers_are_uncounted(self) -> None:
        assert "cost" not in self.figures(counts=self.COUNTS | {"uncountedAnswers": 1})

    def test_that_is_paused_is_at_no_speed(self) -> None:
        assert "tokens_per_second" not in self.figures(StageState.PENDING)


def test_of_a_probe() -> None:
    counts = {"prompts": 10, "generations": 40, "completionTokens": 4_000}
    probing = by_name(stage_status("probe", StageState.RUNNING, counts=counts))
    probed = by_name(
        succeeded_stage("probe", counts=counts), succeeded_stage("probe-verify", metrics={"acceptanceRate": 0.25})
    )
    assert dataset_figures(DATASET, probing)["probe"].model_dump() == {
        "generations": 40,
        "tokens": 4_000,
        "pass_rate": None,
    }
    assert dataset_figures(DATASET, probed)["probe"].pass_rate == 0.25
    assert dataset_figures(DATASET, probed)["generations"] is None  # those are the teacher's


def test_of_a_judge() -> None:
    said = {"judge.asked": 50, "judge.accepted": 12, "judge.incorrect.noVerdict": 3, "judge.timeout.failed": 1}
    counts = {"kept": 132, "judge.correct.noVerdict": 7, "judge.incorrect.rejected": 34, **said}
    metrics = {"judgeFalseAcceptRate": 0.123456, "judgeFalseRejectRate": 0.0}
    of_filter = dataset_figures(DATASET, by_name(succeeded_stage("filter", counts=counts, metrics=metrics)))
    of_eval = evaluation_figures(resource("EvalRun"), by_name(succeeded_stage("eval", counts=counts, metrics=metrics)))
    assert of_filter["judge"] == of_eval["judge"]
    assert of_filter["judge"].model_dump() == {
        "asked": 50,
        "accepted": 12,
        "no_verdict": 4,
        "false_accept_rate": 0.1235,
        "false_reject_rate": 0.0,
    }


def test_what_a_judge_is_asked_about_is_counted_behind_the_rows() -> None:
    rows = {"source": {"rows": {"uri": "r.jsonl"}}, "teacher": None}
    judging = stage_status("filter", StageState.RUNNING, done=70, unit="rows", counts={"rows": 50})
    assert dataset_figures(resource("DistillDataset", rows), by_name(judging))["prompts_done"] == 50


def test_of_a_dataset() -> None:
    stages = by_name(
        succeeded_stage("generate", counts={"prompts": 200, "generations": 200}),
        succeeded_stage(
            "filter",
            counts={"kept": 120, "rejected.wrong": 70, "rejected.truncated": 10},
            metrics={"acceptanceRate": 0.61111},
        ),
        succeeded_stage("pack", counts={"sequences": 40, "tokens": 9000}),
    )
    assert known(dataset_figures(DATASET, stages)) == {
        "prompts": 200,
        "prompts_done": 200,
        "generations": 200,
        "kept": 120,
        "rejected": {"wrong": 70, "truncated": 10},
        "acceptance_rate": 0.6111,
        "rows": 40,
        "tokens": 9000,
    }


def test_of_a_dataset_with_several_teachers() -> None:
    """What each has cost is added up; where one has no price the whole is not known, and each says what it knows."""
    price = {"promptTokensPerMillion": 1000, "completionTokensPerMillion": 2000}
    counts = {
        f"teachers.{number}.{name}": count
        for number in range(2)
        for name, count in (("generations", 50), ("answered", 40), ("promptTokens", 100), ("completionTokens", 1000))
    }
    judged = {"teachers.0.generations": 50, "teachers.0.accepted": 30}
    stages = by_name(succeeded_stage("generate", counts=counts), succeeded_stage("filter", counts=judged))
    teacher = {"endpoints": ["http://a"], "model": "r1", "price": price}
    for others, cost in (({"price": price}, "4.20 USD"), ({}, None), ({"price": {**price, "currency": "EUR"}}, None)):
        more = [{"endpoints": ["http://b"], "model": "qwq", **others}]
        dataset = resource("DistillDataset", {"teacher": {**teacher, "additionalModels": more}})
        found = known(dataset_figures(dataset, stages))
        assert found.get("cost") == cost
        first, second = found["teachers"]
        assert (first.model, first.acceptance_rate, first.mean_tokens, first.cost) == ("r1", 0.6, 25.0, "2.10 USD")
        assert (second.model, second.acceptance_rate, second.generations) == ("qwq", None, 50)


def test_of_a_dataset_with_a_selection() -> None:
    """What select leaves out is rejected, as what filter does, so that the counts close over both."""
    filtered = succeeded_stage("filter", counts={"generations": 200, "kept": 120, "rejected.incorrect": 80})
    counts = {"rows": 120, "kept": 30, "prompts": 20, "rejected.passRateTooHigh": 90}
    selecting = stage_status("select", StageState.RUNNING, done=60)
    running = known(dataset_figures(DATASET, by_name(filtered, selecting)))
    done = known(dataset_figures(DATASET, by_name(filtered, succeeded_stage("select", counts=counts))))
    assert (running["kept"], running["rejected"]) == (120, {"incorrect": 80})
    assert (done["kept"], done["rejected"]) == (30, {"incorrect": 80, "passRateTooHigh": 90})


class TestRows:
    """Rows that were generated before: they are the prompts, and nobody is asked or paid."""

    DATASET: ClassVar = resource("DistillDataset", {"source": {"rows": {"uri": "math/rows"}}, "teacher": None})

    def test_are_counted_while_they_are_verified(self) -> None:
        verifying = stage_status("filter", StageState.RUNNING, done=20, unit="rows", counts={"rows": 50})
        assert known(dataset_figures(self.DATASET, by_name(verifying))) == {"prompts": 50, "prompts_done": 20}

    def test_are_all_done_in_the_end(self) -> None:
        counts = {"rows": 50, "generations": 110, "kept": 100, "rejected.incorrect": 10}
        stages = by_name(succeeded_stage("filter", done=48, unit="rows", counts=counts))
        assert known(dataset_figures(self.DATASET, stages)) == {
            "prompts": 50,
            "prompts_done": 50,
            "generations": 110,
            "kept": 100,
            "rejected": {"incorrect": 10},
        }


def test_of_a_dataset_that_was_packed_before() -> None:
    dataset = resource("DistillDataset", {"source": {"packed": {"uri": "p"}}, "teacher": None, "pack": None})
    stages = by_name(succeeded_stage("pack", counts={"sequences": 40, "samples": 90, "tokens": 9000}))
    assert known(dataset_figures(dataset, stages)) == {"rows": 40, "tokens": 9000}


def test_of_a_training_that_was_restarted() -> None:
    train = stage_status(
        "train",
        StageState.RUNNING,
        attempt=3,
        done=40,
        total=100,
        counts={"globalBatchSize": 8, "epoch": 2, "lastCheckpointStep": 30},
        metrics={
            "loss": 1.23456,
            "learningRate": 4.99999e-5,
            "gradientNorm": 1.23456,
            "tokensPerSecond": 5120.04,
            "modelFlopsUtilization": 0.412345,
            "lastCheckpointTime": 1_764_252_000.0,
            "lostSteps": 7.0,
        },
    )
    assert known(finetune_figures(resource("FinetuneRun"), by_name(train))) == {
        "epoch": 2,
        "step": 40,
        "total_steps": 100,
        "global_batch_size": 8,
        "loss": 1.2346,
        "learning_rate": 5e-5,
        "gradient_norm": 1.235,
        "tokens_per_second": 5120.0,
        "model_flops_utilization": 0.4123,
        "last_checkpoint_step": 30,
        "last_checkpoint_time": datetime(2025, 11, 27, 14, tzinfo=UTC),
        "restarts": 2,
        "disruptions": 0,
        "lost_steps": 7,
    }


def test_a_training_that_is_paused_is_at_no_speed() -> None:
    metrics = {"loss": 1.5, "tokensPerSecond": 5120.0, "modelFlopsUtilization": 0.4}
    train = stage_status("train", StageState.PENDING, done=40, metrics=metrics)
    figures = known(finetune_figures(resource("FinetuneRun"), by_name(train)))
    assert figures == {"step": 40, "loss": 1.5, "restarts": 0, "disruptions": 0}


def test_the_steps_of_a_training_that_nobody_followed_are_those_of_its_result() -> None:
    train = stage_status("train", StageState.SUCCEEDED, counts={"steps": 100})
    assert finetune_figures(resource("FinetuneRun"), by_name(train))["step"] == 100


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e15, 1e300])
def test_a_time_that_is_none_is_left_out(seconds: float) -> None:
    train = stage_status("train", StageState.RUNNING, metrics={"lastCheckpointTime": seconds})
    assert finetune_figures(resource("FinetuneRun"), by_name(train))["last_checkpoint_time"] is None


MEMORY = {"memoryPerDevice": 57.34 * 2**30, "deviceMemory": 64.0 * 2**30}


@pytest.mark.parametrize("stage", ["train-preflight", "train"])
def test_of_the_memory_of_a_device(stage: str) -> None:
    """The preflight estimates it; training does so again, where there is none."""
    figures = known(finetune_figures(resource("FinetuneRun"), by_name(succeeded_stage(stage, metrics=MEMORY))))
    assert (figures["memory_per_device"], figures["device_memory"]) == ("57.3Gi", "64Gi")


def test_of_the_memory_of_a_device_that_is_not_known() -> None:
    preflight = succeeded_stage("train-preflight", metrics={"memoryPerDevice": 57.34 * 2**30})
    assert known(finetune_figures(resource("FinetuneRun"), by_name(preflight))) == {"memory_per_device": "57.3Gi"}


def test_of_a_training_that_was_only_planned() -> None:
    preflight = succeeded_stage("train-preflight", counts={"globalBatchSize": 8, "totalSteps": 375})
    planned = {"total_steps": 375, "global_batch_size": 8}
    assert known(finetune_figures(resource("FinetuneRun"), by_name(preflight))) == planned
    begun = finetune_figures(resource("FinetuneRun"), by_name(preflight, stage_status("train", StageState.PENDING)))
    assert known(begun) == planned | {"restarts": 0, "disruptions": 0}


def test_steps_that_no_status_can_hold_are_left_out() -> None:
    train = stage_status("train", StageState.RUNNING, metrics={"lostSteps": 1e300})
    assert finetune_figures(resource("FinetuneRun"), by_name(train))["lost_steps"] is None


def test_of_a_training_that_was_disrupted() -> None:
    """The fourth attempt ends now: it is counted once another follows."""
    train = stage_status("train", StageState.RUNNING, attempt=4, disrupted=(1, 3, 4))
    figures = finetune_figures(resource("FinetuneRun"), by_name(train))
    assert (figures["restarts"], figures["disruptions"]) == (1, 2)


def test_of_an_evaluation() -> None:
    evaluation = succeeded_stage(
        "eval",
        counts={"problems": 500, "samples": 2000},
        metrics={
            "score": 91.649,
            "scoreLow": 90.351,
            "scoreHigh": 92.78,
            "stderr": 0.6213,
            "runStderr": 0.3049,
            "smallestDifference": 1.736,
            "pass@1": 91.649,
            "pass@4": 95.2,
            "maj@4": 93.04,
            "truncatedRate": 1.255,
            "overlapRate": 4.2,
            "cleanScore": 91.24,
            "cleanScoreLow": 89.81,
            "cleanScoreHigh": 92.47,
            "unansweredRate": 0.0,
        },
    )
    assert evaluation_figures(resource("EvalRun"), by_name(evaluation)) == {
        "score": 91.6,
        "score_low": 90.4,
        "score_high": 92.8,
        "interval": "90.4–92.8",
        "stderr": 0.62,
        "run_stderr": 0.3,
        "smallest_difference": 1.7,
        "pass_at": {"1": 91.6, "4": 95.2},
        "maj_at": {"4": 93.0},
        "problems": 500,
        "samples": 2000,
        "truncated_rate": pytest.approx(1.25, abs=0.01),
        "unanswered_rate": 0.0,
        "judge": None,
        "overlap_rate": 4.2,
        "clean_score": 91.2,
        "clean_interval": "89.8–92.5",
        "comparison": (),
        "difference": None,
        "gate": None,
    }
