"""The status of an object: conditions in kstatus' terms, progress in a few words, and when it is worth a write."""

from typing import Any

import pytest
from unit.operator.builders import DIGEST, NOW, later, resource, stage_status, succeeded_stage

from distill_operator.api import DistillDatasetStatus, FinetuneRunStatus, StageState, StageStatus, Status
from distill_operator.api.common import Artifact
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.pipeline import Phase, Plan, Verdict
from distill_operator.plan.status import conditions, progress_text, summarize, worth_writing
from distill_runtime.contract import ArtifactReference

RUNS = Verdict(Phase.PROGRESSING, "Generating", "it runs")


def summary(plan: Plan, status: dict[str, Any] | None = None, generation: int = 1) -> DistillDatasetStatus:
    dataset = resource("DistillDataset", status=status or {}, metadata={"generation": generation})
    found = summarize(KIND_PLANS["DistillDataset"], dataset, plan, later(60))
    assert isinstance(found, DistillDatasetStatus)
    return found


@pytest.mark.parametrize(
    ("phase", "ready", "reconciling", "stalled"),
    [
        (Phase.PROGRESSING, "False", "True", "False"),
        (Phase.SUSPENDED, "False", "False", "False"),
        (Phase.FAILED, "False", "False", "True"),
        (Phase.DONE, "True", "False", "False"),
    ],
)
def test_each_phase_is_one_combination_of_conditions(phase: Phase, ready: str, reconciling: str, stalled: str) -> None:
    found = conditions(Verdict(phase, "Word", "words"), Status(), 3, NOW)
    assert {item.type: item.status for item in found} == {
        "Ready": ready,
        "Reconciling": reconciling,
        "Stalled": stalled,
    }
    assert {item.observed_generation for item in found} == {3}


def test_ready_always_says_how_it_stands_the_others_while_they_are_true() -> None:
    ready, reconciling, stalled = conditions(RUNS, Status(), 1, NOW)
    assert (ready.reason, ready.message) == ("Generating", "it runs")
    assert (reconciling.reason, reconciling.message) == ("Generating", "it runs")
    assert (stalled.reason, stalled.message) == ("NotStalled", "")


def test_a_transition_time_changes_only_with_the_status() -> None:
    before = Status(conditions=conditions(RUNS, Status(), 1, NOW))
    failed = Verdict(Phase.FAILED, "OutOfMemory", "raise the limit")
    times = {item.type: item.last_transition_time for item in conditions(failed, before, 1, later(9))}
    assert times == {"Ready": NOW, "Reconciling": later(9), "Stalled": later(9)}


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ((), None),
        ((succeeded_stage("generate"),), None),
        ((stage_status("generate", StageState.PENDING),), "generate"),
        ((stage_status("generate", StageState.RUNNING, done=3, unit="rows"),), "3 rows"),
        ((stage_status("generate", StageState.RUNNING, done=3, total=9, unit="rows"),), "3/9 rows"),
        (
            (stage_status("generate", StageState.RUNNING, done=3, total=9, unit="rows", eta_seconds=3723),),
            "3/9 rows, 1:02:03 left",
        ),
        (
            (succeeded_stage("generate"), stage_status("filter", StageState.RUNNING, done=0, total=9, unit="rows")),
            "0/9 rows",
        ),
    ],
)
def test_progress_is_the_first_unfinished_stage(stages: tuple[StageStatus, ...], text: str | None) -> None:
    assert progress_text(stages) == text


class TestSummary:
    def test_is_of_the_generation_that_was_looked_at(self) -> None:
        assert summary(Plan(RUNS, ()), generation=7).observed_generation == 7

    def test_of_the_same_plan_is_the_same_after_a_trip_through_the_api_server(self) -> None:
        plan = Plan(RUNS, (succeeded_stage("generate", counts={"prompts": 3}, metrics={"meanTokens": 0.1}),))
        first = summary(plan)
        assert summary(plan, first.to_json()) == first

    def test_has_the_last_stage_s_artifact_once_it_is_done(self) -> None:
        stages = (succeeded_stage("filter"), succeeded_stage("pack"))
        done = summary(Plan(Verdict(Phase.DONE, "Packed", ""), stages))
        assert done.artifact is not None
        assert done.artifact.uri == "npu-distill/pack"
        assert summary(Plan(RUNS, stages)).artifact is None

    def test_keeps_the_input_that_was_planned_with(self) -> None:
        reference = ArtifactReference(uri="npu-distill/pack", digest=DIGEST)
        first = summary(Plan(RUNS, (), input=reference))
        assert first.input == Artifact(uri="npu-distill/pack", digest=DIGEST)
        assert summary(Plan(RUNS, ()), first.to_json()).input == first.input

    def test_forgets_what_no_stage_says_any_more(self) -> None:
        assert summary(Plan(RUNS, ()), {"kept": 5, "message": "from an older version"}).kept is None


class TestWorthWriting:
    base = FinetuneRunStatus(
        observed_generation=1,
        conditions=conditions(RUNS, Status(), 1, NOW),
        stages=(stage_status("train", StageState.RUNNING, done=1),),
    )

    def changed(self, **fields: Any) -> Status:
        return self.base.model_copy(update=fields)

    def test_the_same_never_is(self) -> None:
        assert not worth_writing(self.base, self.base, 1e9, 15)

    @pytest.mark.parametrize(
        "fields",
        [
            {"observed_generation": 2},
            {"conditions": conditions(Verdict(Phase.PROGRESSING, "Filtering", ""), Status(), 1, NOW)},
            {"conditions": conditions(Verdict(Phase.FAILED, "Generating", ""), Status(), 1, NOW)},
            {"stages": (stage_status("train", StageState.RUNNING, done=1, attempt=2),)},
            {"stages": (stage_status("train", StageState.RUNNING, done=1, disrupted=(1,)),)},
            {"artifact": succeeded_stage("train").artifact},
        ],
        ids=["generation", "reason", "condition", "attempt", "disruption", "artifact"],
    )
    def test_a_change_of_state_is_at_once(self, fields: dict[str, Any]) -> None:
        assert worth_writing(self.base, self.changed(**fields), 0, 15)

    @pytest.mark.parametrize(
        "fields",
        [
            {"loss": 0.5},
            {"stages": (stage_status("train", StageState.RUNNING, done=2),)},
            {"conditions": conditions(Verdict(Phase.PROGRESSING, "Generating", "2 of 9"), Status(), 1, NOW)},
        ],
        ids=["figure", "progress", "message"],
    )
    def test_a_change_of_numbers_is_once_an_interval(self, fields: dict[str, Any]) -> None:
        assert not worth_writing(self.base, self.changed(**fields), 14.9, 15)
        assert worth_writing(self.base, self.changed(**fields), 15, 15)
