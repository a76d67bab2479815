"""Which stage is next, and how the object stands: order, waiting, suspension, children of an earlier object."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from unit.operator.builders import (
    DIGEST,
    NOW,
    SETTINGS,
    body,
    complete,
    dead_pod,
    failed_pod,
    job,
    later,
    observation,
    ready,
    resource,
    result,
    running_pod,
    succeeded_pod,
    succeeded_stage,
)
from unit.operator.builders import (
    known as known_to,
)

from distill_operator.api import AnyResource, StageState, StageStatus
from distill_operator.observation import JobView, PodView
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.pipeline import Phase, Plan, plan_resource
from distill_operator.plan.stages import job_name
from distill_runtime.contract import ArtifactReference, TrainContract

GENERATE = job()
NPUS = {"accelerator": {"profile": "ascend-910b", "devicesPerNode": 8}}


def recorded(*stages: StageStatus) -> dict[str, Any]:
    return {"stages": [stage.to_json() for stage in stages]}


def plan(
    kind: str = "DistillDataset",
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    jobs: tuple[JobView, ...] = (),
    pods: tuple[PodView, ...] = (),
    dependency: dict[str, Any] | None = None,
    now: datetime = NOW,
) -> Plan:
    known: AnyResource = resource(kind, spec, status=status or {})
    dependencies = known_to(kind, dependency) if dependency is not None else {}
    seen = observation(kind, jobs=jobs, pods=pods, dependencies=dependencies)
    return plan_resource(KIND_PLANS[kind], known, seen, SETTINGS, now)


def created(found: Plan) -> list[str]:
    if found.start is None:
        return []
    stage = found.start.stage
    owner = stage.contract.owner
    assert owner is not None
    return [job_name(owner.name, stage.outline.name, found.start.attempt)]


def states(found: Plan) -> dict[str, str]:
    return {stage.name: stage.state.value for stage in found.stages}


class TestOrder:
    def test_a_new_object_starts_its_first_stage_only(self) -> None:
        found = plan()
        assert created(found) == ["math-generate-a1"]
        assert states(found) == {"generate": "Pending", "filter": "Pending", "pack": "Pending"}
        assert (found.verdict.phase, found.verdict.reason) == (Phase.PROGRESSING, "Generating")

    def test_a_stage_that_has_succeeded_starts_the_next_at_once(self) -> None:
        found = plan(jobs=(replace(GENERATE, **complete(GENERATE)),), pods=(succeeded_pod(GENERATE),))
        assert created(found) == ["math-filter-a1"]
        assert states(found) == {"generate": "Succeeded", "filter": "Pending", "pack": "Pending"}

    def test_what_is_recorded_as_succeeded_is_not_looked_at_again(self) -> None:
        """Its Job may be deleted, its Pods gone."""
        found = plan(status=recorded(succeeded_stage("generate"), succeeded_stage("filter")))
        assert created(found) == ["math-pack-a1"]

    def test_the_last_stage_s_words_are_the_object_s(self) -> None:
        status = recorded(*(succeeded_stage(name, message=name) for name in ("generate", "filter", "pack")))
        found = plan(status=status)
        assert (found.verdict.phase, found.verdict.reason, found.verdict.message) == (Phase.DONE, "Packed", "pack")
        assert (found.start, found.delete) == (None, ())

    def test_a_failed_stage_holds_those_after_it(self) -> None:
        failed = replace(GENERATE, failed=True, finished_at=NOW)
        found = plan(jobs=(failed,), pods=(failed_pod(GENERATE),))
        assert found.verdict.phase is Phase.FAILED
        assert states(found) == {"generate": "Failed", "filter": "Pending", "pack": "Pending"}

    def test_an_npu_run_is_checked_before_it_holds_devices(self) -> None:
        found = plan("FinetuneRun", NPUS, dependency=ready("DistillDataset"))
        assert created(found) == ["student-train-preflight-a1"]

    def test_the_devices_of_an_npu_run_are_given_back_before_its_export(self) -> None:
        train = job("FinetuneRun", "train")
        done = replace(train, **complete(train))
        said = result({"steps": 40}).model_copy(update={"artifact": None})
        status = recorded(
            succeeded_stage("train-preflight", job="student-train-preflight-a1", artifact=None),
            StageStatus(name="train", state=StageState.RUNNING, job=train.name),
            StageStatus(name="export", state=StageState.PENDING),
        )
        found = plan("FinetuneRun", NPUS, status, (done,), (succeeded_pod(done, said=said),), ready("DistillDataset"))
        assert (created(found), found.verdict.reason) == (["student-export-a1"], "Exporting")
        assert found.start is not None
        assert (found.start.stage.command, found.start.stage.devices) == ("export", 0)
        (trained,) = (stage for stage in found.stages if stage.name == "train")
        assert (trained.state, trained.counts, trained.artifact) == (StageState.SUCCEEDED, {"steps": 40}, None)

    def test_a_run_that_a_version_without_exports_has_begun_exports_in_its_training(self) -> None:
        train = replace(job("FinetuneRun", "train"), failed=True, finished_at=NOW)
        status = recorded(
            succeeded_stage("train-preflight", job="student-train-preflight-a1", artifact=None),
            StageStatus(name="train", state=StageState.RUNNING, job=train.name),
        )
        found = plan(
            "FinetuneRun", NPUS, status, (train,), (failed_pod(train),), ready("DistillDataset"), now=later(3600)
        )
        assert created(found) == ["student-train-a2"]
        assert found.start is not None
        assert isinstance(found.start.stage.contract, TrainContract)
        assert found.start.stage.contract.export_by == "msrun"
        done = replace(train, failed=False, complete=True)
        found = plan("FinetuneRun", NPUS, status, (done,), (succeeded_pod(done),), ready("DistillDataset"))
        assert (found.verdict.phase, states(found)["train"]) == (Phase.DONE, "Succeeded")


class TestWaiting:
    def test_nothing_runs_while_a_dependency_is_not_ready(self) -> None:
        found = plan("FinetuneRun", dependency=body("DistillDataset"))
        assert (found.verdict.phase, found.verdict.reason) == (Phase.PROGRESSING, "WaitingForDistillDataset")
        assert (created(found), states(found)) == ([], {"train": "Pending"})

    def test_what_can_never_run_has_failed(self) -> None:
        found = plan("FinetuneRun", {"accelerator": {"profile": "tpu"}}, dependency=ready("DistillDataset"))
        assert (found.verdict.phase, found.verdict.reason) == (Phase.FAILED, "UnknownProfile")


class TestProfileThatIsRemoved:
    """By `helm upgrade`, while a run goes on."""

    train = job("FinetuneRun", "train")
    spec: ClassVar = {"accelerator": {"profile": "removed", "nodes": 2, "devicesPerNode": 8}}
    status: ClassVar = {
        "input": {"uri": "npu-distill/x", "digest": DIGEST},
        "stages": [
            succeeded_stage("train-preflight", job="student-train-preflight-a1").to_json(),
            StageStatus(name="train", state=StageState.RUNNING, job="student-train-a1", done=40).to_json(),
        ],
    }

    def plan(self, jobs: tuple[JobView, ...], pods: tuple[PodView, ...] = (), **spec: Any) -> Plan:
        return plan("FinetuneRun", {**self.spec, **spec}, self.status, jobs, pods, now=later(60))

    def test_a_job_that_runs_goes_on(self) -> None:
        found = self.plan((self.train,), (running_pod(self.train), running_pod(self.train, 1)))
        assert (found.verdict.phase, found.verdict.reason) == (Phase.PROGRESSING, "Training")
        assert states(found) == {"train-preflight": "Succeeded", "train": "Running"}
        assert (found.start, found.delete) == (None, ())

    def test_what_it_made_is_taken(self) -> None:
        done = replace(self.train, **complete(self.train))
        found = self.plan((done,), (succeeded_pod(done), succeeded_pod(done, 1)))
        assert (found.verdict.phase, found.verdict.reason) == (Phase.DONE, "Trained")

    def test_another_attempt_cannot_start(self) -> None:
        failed = replace(self.train, failed=True, finished_at=NOW)
        found = self.plan((failed,), (failed_pod(failed),))
        assert (created(found), found.verdict.phase, found.verdict.reason) == ([], Phase.FAILED, "UnknownProfile")
        stage = found.stages[1]
        assert (stage.state, stage.attempt, stage.done) == (StageState.PENDING, 1, 40)
        assert stage.message is not None
        assert stage.message.startswith("Attempt 1 failed (StageFailed: ")

    def test_suspending_ends_what_runs(self) -> None:
        found = self.plan((self.train,), (running_pod(self.train),), suspend=True)
        assert (found.verdict.phase, found.delete) == (Phase.SUSPENDED, (self.train,))

    def test_suspending_ends_a_job_of_which_nothing_is_recorded(self) -> None:
        """Killed between the Job and the status, the operator came back without the profile: which stages are there?"""
        preflight = job("FinetuneRun", "train-preflight")
        found = plan("FinetuneRun", {**self.spec, "suspend": True}, jobs=(preflight,))
        assert (found.verdict.reason, found.delete) == ("UnknownProfile", (preflight,))


class TestInput:
    def test_is_what_a_stage_is_planned_with(self) -> None:
        found = plan("FinetuneRun", dependency=ready("DistillDataset"))
        assert found.input == ArtifactReference(uri="npu-distill/DistillDataset", digest=DIGEST)

    def test_of_a_run_that_is_suspended_before_it_begins_is_open(self) -> None:
        assert plan("FinetuneRun", {"suspend": True}, dependency=ready("DistillDataset")).input is None

    def test_of_a_run_that_is_suspended_after_it_has_begun_is_settled(self) -> None:
        """Also when the operator was away between the Job and the status."""
        train = job("FinetuneRun", "train")
        found = plan("FinetuneRun", {"suspend": True}, dependency=ready("DistillDataset"), jobs=(train,))
        assert found.input is not None

    def test_a_run_goes_on_when_its_data_set_is_gone(self) -> None:
        train = job("FinetuneRun", "train")
        status = {"input": {"uri": "npu-distill/x", "digest": DIGEST}}
        found = plan("FinetuneRun", status=status, jobs=(train,), pods=(running_pod(train),))
        assert found.verdict.reason == "Training"


class TestSpecChanged:
    def test_a_stage_that_would_start_over_is_not_started(self) -> None:
        """`{a: …}` for `{b: …}` in spec.mindformers, which the API server takes for the same."""
        failed = replace(job("FinetuneRun", "train"), failed=True, finished_at=NOW)
        begun = plan("FinetuneRun", dependency=ready("DistillDataset"))
        changed = {"mindformers": {"context": {"max_call_depth": 10000}}}
        found = plan(
            "FinetuneRun",
            changed,
            recorded(*begun.stages),
            (failed,),
            (failed_pod(failed),),
            ready("DistillDataset"),
            now=later(3600),
        )
        assert (found.start, found.verdict.phase, found.verdict.reason) == (None, Phase.FAILED, "SpecChanged")
        assert f"not what it has begun to make in {begun.stages[0].output}" in found.verdict.message

    def test_one_that_runs_is_followed_to_its_end(self) -> None:
        train = job("FinetuneRun", "train")
        begun = plan("FinetuneRun", dependency=ready("DistillDataset"))
        changed = {"mindformers": {"context": {"max_call_depth": 10000}}}
        found = plan(
            "FinetuneRun", changed, recorded(*begun.stages), (train,), (running_pod(train),), ready("DistillDataset")
        )
        assert (found.verdict.phase, found.verdict.reason) == (Phase.PROGRESSING, "Training")

    def test_what_the_output_does_not_depend_on_may_change(self) -> None:
        failed = replace(job("FinetuneRun", "train"), failed=True, finished_at=NOW)
        begun = plan("FinetuneRun", dependency=ready("DistillDataset"))
        changed, known = {"restarts": {"max": 9}}, recorded(*begun.stages)
        found = plan(
            "FinetuneRun", changed, known, (failed,), (failed_pod(failed),), ready("DistillDataset"), now=later(3600)
        )
        assert created(found) == ["student-train-a2"]


class TestSuspend:
    suspended: ClassVar = {"suspend": True}

    def test_ends_what_runs(self) -> None:
        found = plan(spec=self.suspended, jobs=(GENERATE,), pods=(running_pod(GENERATE),))
        assert found.delete == (GENERATE,)
        assert (found.verdict.phase, found.verdict.message) == (Phase.SUSPENDED, "Suspended; its Pods are ending.")
        assert states(found)["generate"] == "Pending"

    def test_ends_it_once(self) -> None:
        found = plan(spec=self.suspended, jobs=(replace(GENERATE, deleting=True),), pods=(running_pod(GENERATE),))
        assert found.delete == ()

    def test_says_when_one_of_its_pods_does_not_end(self) -> None:
        deleted = replace(GENERATE, deleting=True)
        first = plan(spec=self.suspended, jobs=(deleted,), pods=(dead_pod(GENERATE),))
        assert first.look_again_after == timedelta(seconds=60)
        found = plan(spec=self.suspended, jobs=(deleted,), pods=(dead_pod(GENERATE),), now=later(60))
        assert found.verdict.reason == "Suspended"
        assert found.verdict.message.startswith("Suspended. Pod math-generate-a1-0-x was told to end and has not")

    def test_says_when_its_pods_have_ended(self) -> None:
        found = plan(spec=self.suspended)
        assert found.verdict.message == "Suspended; no Pods run. Set spec.suspend to false to go on where it was."

    def test_takes_a_result_but_starts_nothing_new(self) -> None:
        found = plan(
            spec=self.suspended, jobs=(replace(GENERATE, **complete(GENERATE)),), pods=(succeeded_pod(GENERATE),)
        )
        assert (created(found), found.delete) == ([], ())
        assert states(found)["generate"] == "Succeeded"

    def test_a_stage_that_has_not_started_does_not_look_as_if_it_had(self) -> None:
        stage = plan(spec=self.suspended).stages[0]
        assert (stage.job, stage.started_at, stage.message) == (None, None, None)

    def test_resume_starts_the_same_attempt_with_what_was_done(self) -> None:
        stage = StageStatus(name="generate", state=StageState.PENDING, attempt=1, done=50, started_at=NOW)
        found = plan(status=recorded(stage), now=later(60))
        assert created(found) == ["math-generate-a1"]
        assert (found.stages[0].done, found.stages[0].started_at) == (50, NOW)

    @pytest.mark.parametrize("phase", [Phase.FAILED, Phase.DONE])
    def test_what_has_ended_stays_as_it_is(self, phase: Phase) -> None:
        status = recorded(*(succeeded_stage(name) for name in ("generate", "filter", "pack")))
        failed = replace(GENERATE, failed=True, finished_at=NOW)
        ended = {
            Phase.DONE: plan(spec=self.suspended, status=status),
            Phase.FAILED: plan(spec=self.suspended, jobs=(failed,), pods=(failed_pod(GENERATE),)),
        }
        assert ended[phase].verdict.phase is phase


class TestEarlierObject:
    earlier = replace(GENERATE, owner_uid="earlier", uid="earlier-job")

    @pytest.mark.parametrize(
        ("jobs", "pods", "named"),
        [
            ((earlier,), (), "job math-generate-a1"),
            ((replace(earlier, **complete(earlier)),), (), "job math-generate-a1"),
            ((), (running_pod(earlier),), "pod math-generate-a1-0-x"),
        ],
        ids=["active-job", "ended-job", "pod"],
    )
    def test_its_children_are_waited_for(
        self, jobs: tuple[JobView, ...], pods: tuple[PodView, ...], named: str
    ) -> None:
        found = plan(jobs=jobs, pods=pods)
        assert (created(found), found.delete) == ([], ())
        assert found.verdict.reason == "EarlierObjectEnding"
        assert f"`kubectl delete {named}`" in found.verdict.message

    def test_a_pod_of_it_that_does_not_end_is_said(self) -> None:
        first = plan(pods=(dead_pod(self.earlier),))
        assert (first.verdict.reason, first.look_again_after) == ("EarlierObjectEnding", timedelta(seconds=60))
        found = plan(pods=(dead_pod(self.earlier),), now=later(60))
        assert (created(found), found.verdict.reason) == ([], "PodStuckTerminating")

    def test_its_ended_pods_are_in_nobody_s_way(self) -> None:
        assert created(plan(pods=(succeeded_pod(self.earlier),))) == ["math-generate-a1"]

    def test_its_results_are_not_taken(self) -> None:
        ended = replace(self.earlier, **complete(self.earlier))
        found = plan(jobs=(ended,), pods=(succeeded_pod(self.earlier, said=result({"prompts": 1})),))
        assert "Succeeded" not in states(found).values()
