"""One stage's attempts: what is done next, for everything that can be seen of its Jobs and Pods."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from unit.operator.builders import (
    NOW,
    SETTINGS,
    complete,
    dead_pod,
    failed_pod,
    job,
    key,
    known,
    later,
    observation,
    pod,
    progress,
    resource,
    result,
    running_pod,
    stage_status,
    succeeded_pod,
    wrong_input_pod,
)

from distill_operator.api import AttemptStatus, StageState, StageStatus
from distill_operator.observation import JobView, Observation, PodView
from distill_operator.plan.attempts import step_stage
from distill_operator.plan.buckets import sort_children
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Stage, job_name
from distill_operator.plan.steps import Step
from distill_runtime.contract import InputFingerprint, Progress, Result

TRAIN = job("FinetuneRun", "train")
GENERATE = job()
ENDED = later(60)
SIGTERM = 143
DRAINED = "Eviction API: evicting"
RETRY_COMMAND = '`kubectl patch finetunerun student -n team-a --type merge -p \'{"spec":{"retry":1}}\'`'


def stage(kind: str, spec: dict[str, Any] | None = None) -> Stage:
    name = {"FinetuneRun": "train", "DistillDataset": "generate"}[kind]
    planned = KIND_PLANS[kind].plan_stage(resource(kind, spec), name, {}, known(kind), SETTINGS)
    assert isinstance(planned, Stage)
    return planned


def step(
    kind: str = "DistillDataset",
    recorded: StageStatus | None = None,
    jobs: tuple[JobView, ...] = (),
    pods: tuple[PodView, ...] = (),
    now: datetime = ENDED,
    spec: dict[str, Any] | None = None,
    progress: dict[str, Progress] | None = None,
    confirmed: bool = True,
) -> Step:
    seen: Observation = observation(kind, jobs=jobs, pods=pods, progress=progress or {}, confirmed=confirmed)
    retry = resource(kind, spec).spec.retry
    return step_stage(stage(kind, spec), recorded, sort_children(key(kind), seen), retry, now)


def created(found: Step) -> list[str]:
    owner = {"train": "student", "generate": "math"}[found.status.name]
    return [job_name(owner, found.status.name, found.start)] if found.start is not None else []


def complete_job(view: JobView = GENERATE) -> JobView:
    return replace(view, **complete(replace(view, finished_at=ENDED)))


def failed_job(view: JobView = TRAIN, **fields: Any) -> JobView:
    return replace(view, **{"failed": True, "finished_at": ENDED, "failure_message": "backoff limit", **fields})


def full_volume_pod() -> PodView:
    said = Result(outcome="Failed", reason="VolumeFull", message="no space left for the volume")
    return failed_pod(GENERATE, said=said)


class TestStart:
    def test_starts_the_first_attempt(self) -> None:
        found = step()
        assert created(found) == ["math-generate-a1"]
        assert found.status == stage_status(
            "generate",
            StageState.PENDING,
            job="math-generate-a1",
            output=stage("DistillDataset").contract.output,
            started_at=ENDED,
            message="Waiting for the Pods of Job math-generate-a1 to start.",
        )

    def test_says_the_same_when_it_looks_again(self) -> None:
        first = step()
        again = step(recorded=first.status, now=later(120))
        assert again == first

    def test_starts_the_attempt_that_is_recorded(self) -> None:
        """Its Job was deleted: by a person, or since the object was suspended."""
        recorded = stage_status("train", StageState.RUNNING, attempt=3, started_at=NOW, done=40, unit="steps")
        found = step("FinetuneRun", recorded)
        assert created(found) == ["student-train-a3"]
        assert (found.status.started_at, found.status.done) == (NOW, 40)

    def test_waits_for_pods_that_a_deleted_job_has_left(self) -> None:
        """A Job deleted in the background is gone before its Pods: new ones would write beside them."""
        found = step(pods=(dead_pod(GENERATE),), now=NOW)
        assert created(found) == []
        assert found.message == "Waiting for Pod math-generate-a1-0-x of an earlier Job to end."
        assert found.look_again_after == timedelta(seconds=60)

    def test_says_when_such_a_pod_does_not_end(self) -> None:
        found = step(pods=(dead_pod(GENERATE),))
        assert (created(found), found.reason) == ([], "PodStuckTerminating")

    def test_does_not_wait_for_pods_that_have_ended(self) -> None:
        assert created(step(pods=(failed_pod(GENERATE),))) == ["math-generate-a1"]


class TestActive:
    def test_pods_run_and_say_how_far_they_are(self) -> None:
        runs = running_pod(GENERATE)
        said = progress(50, 200, rate=2.5, eta_seconds=60, counts={"answered": 50})
        found = step(jobs=(GENERATE,), pods=(runs,), progress={runs.name: said})
        assert found.status.state is StageState.RUNNING
        assert (found.status.done, found.status.total, found.status.rate) == (50, 200, 2.5)
        assert found.message == "Generating, 50 of 200 generations, 2.5 a second, 0:01:00 left."

    def test_a_pod_that_does_not_answer_keeps_what_was_recorded(self) -> None:
        recorded = stage_status("generate", StageState.RUNNING, done=50, total=200, unit="generations")
        found = step(recorded=recorded, jobs=(GENERATE,), pods=(running_pod(GENERATE),))
        assert (found.status.done, found.status.total) == (50, 200)

    def test_a_later_attempt_says_so(self) -> None:
        second = job("FinetuneRun", "train", attempt=2)
        found = step("FinetuneRun", jobs=(second,), pods=(running_pod(second),))
        assert found.message == "Training (attempt 2)."

    @pytest.mark.parametrize(
        ("pods", "reason", "message"),
        [
            ((), "NoPods", "Job math-generate-a1 has no Pods yet; `kubectl describe job math-generate-a1` says why"),
            ((pod(GENERATE),), "Generating", "Waiting for the Pods of Job math-generate-a1 to start."),
            ((pod(GENERATE, unschedulable="0/2 nodes are available."),), "Unschedulable", "fits on no node: 0/2 nodes"),
            (
                (pod(GENERATE, waiting_reason="CreateContainerConfigError", waiting_message='secret "t" not found'),),
                "CreateContainerConfigError",
                'cannot start: secret "t" not found',
            ),
        ],
        ids=["none", "new", "unschedulable", "cannot-start"],
    )
    def test_pods_do_not_run_yet(self, pods: tuple[PodView, ...], reason: str, message: str) -> None:
        found = step(jobs=(GENERATE,), pods=pods)
        assert found.status.state is StageState.PENDING
        assert found.reason == reason
        assert message in found.message

    def test_a_pod_that_is_not_set_up_says_where_to_look(self) -> None:
        """A large image, or a volume that cannot be mounted: the kubelet calls both ContainerCreating."""
        given = pod(GENERATE, node="node-1", scheduled_at=NOW, waiting_reason="ContainerCreating")
        first = step(jobs=(GENERATE,), pods=(given,), now=later(60))
        assert (first.reason, first.look_again_after) == ("Generating", timedelta(seconds=240))
        found = step(jobs=(GENERATE,), pods=(given,), now=later(300))
        assert (found.reason, found.look_again_after) == ("PodNotSetUp", None)
        assert f"kubectl describe pod {given.name}" in found.message

    def test_a_job_may_take_a_moment_to_make_its_pods(self) -> None:
        found = step(jobs=(GENERATE,), now=later(3))
        assert found.reason == "Generating"
        assert found.look_again_after is not None

    def test_pods_that_have_just_ended_are_no_obstacle(self) -> None:
        """The Job's own condition follows a moment later."""
        recorded = stage_status("generate", StageState.RUNNING, job=GENERATE.name, done=50, started_at=NOW)
        found = step(recorded=recorded, jobs=(GENERATE,), pods=(succeeded_pod(GENERATE),))
        assert (found.status, found.reason) == (recorded, "Generating")

    def test_pods_that_have_ended_and_are_gone_are_no_obstacle(self) -> None:
        """As those of a node that was lost; the Job says so in a moment."""
        found = step("FinetuneRun", jobs=(replace(TRAIN, ended_pods=1),), now=later(3600))
        assert (found.reason, found.message) == (
            "Training",
            "The Pods of Job student-train-a1 have ended; waiting for what the Job makes of it.",
        )

    def test_a_job_that_cannot_replace_its_pods_says_so(self) -> None:
        assert step(jobs=(replace(GENERATE, ended_pods=1),), now=later(3600)).reason == "NoPods"

    def test_a_pod_that_failed_says_why_while_its_job_pauses(self) -> None:
        found = step(jobs=(GENERATE,), pods=(full_volume_pod(),))
        assert (found.status.state, found.reason) == (StageState.PENDING, "Retrying")
        assert found.message.startswith("no space left for the volume. Pod math-generate-a1-0-x ended with it;")
        assert "failed so far: 1, given up after 7" in found.message

    def test_shards_are_given_up_each_by_its_own_failures(self) -> None:
        pods = tuple(replace(full_volume_pod(), index=index) for index in (0, 1, 2, 3, 3))
        found = step(jobs=(GENERATE,), pods=pods)
        assert "failed so far: 2, given up after 7" in found.message

    def test_a_shard_that_is_given_up_is_not_said_to_be_tried_again(self) -> None:
        """The Job ends the other shards, and then has failed."""
        given_up = replace(GENERATE, failed_indexes=frozenset({0}))
        found = step(jobs=(given_up,), pods=(full_volume_pod(),))
        assert found.reason == "Generating"
        assert "waiting for what the Job makes of it" in found.message

    def test_a_pod_with_wrong_input_is_not_tried_again(self) -> None:
        found = step(jobs=(GENERATE,), pods=(wrong_input_pod(GENERATE),))
        assert found.reason == "Generating"
        assert "waiting for what the Job makes of it" in found.message

    def test_a_failed_pod_is_forgotten_once_there_is_another(self) -> None:
        found = step(jobs=(GENERATE,), pods=(full_volume_pod(), replace(running_pod(GENERATE), name="other")))
        assert (found.status.state, found.reason) == (StageState.RUNNING, "Generating")

    def test_a_shard_that_pauses_does_not_hide_the_others(self) -> None:
        runs = replace(running_pod(GENERATE), index=1, name="runs")
        found = step(jobs=(GENERATE,), pods=(full_volume_pod(), runs), progress={"runs": progress(5, 10)})
        assert (found.status.state, found.reason) == (StageState.RUNNING, "Generating")
        assert "no space left" in found.message

    def test_a_shard_that_cannot_start_does_not_hide_the_others(self) -> None:
        runs, waits = running_pod(GENERATE), pod(GENERATE, 1, unschedulable="0/2 nodes")
        found = step(jobs=(GENERATE,), pods=(runs, waits), progress={runs.name: progress(5, 10)})
        assert (found.status.state, found.reason, found.status.done) == (StageState.RUNNING, "Generating", 5)
        assert "0/2 nodes" in found.message

    def test_pods_that_work_together_wait_for_the_one_that_cannot_start(self) -> None:
        pods = (running_pod(TRAIN), pod(TRAIN, 1, unschedulable="0/2 nodes"))
        found = step("FinetuneRun", jobs=(TRAIN,), pods=pods, spec={"accelerator": {"profile": "cpu", "nodes": 2}})
        assert (found.status.state, found.reason) == (StageState.PENDING, "Unschedulable")

    def test_pods_of_an_earlier_job_of_the_name_do_not_count(self) -> None:
        old = failed_pod(replace(GENERATE, uid="earlier"))
        found = step(jobs=(GENERATE,), pods=(old, running_pod(GENERATE)))
        assert found.status.state is StageState.RUNNING

    def test_pods_that_work_together_wait_for_one_that_a_dead_node_holds(self) -> None:
        """The Job does not fail before it has ended, so that nothing else would say anything."""
        recorded = stage_status("train", StageState.RUNNING, done=40, unit="steps", rate=2.0)
        pods, spec = (running_pod(TRAIN), dead_pod(TRAIN, 1)), {"accelerator": {"profile": "cpu", "nodes": 2}}
        before = step("FinetuneRun", recorded, jobs=(TRAIN,), pods=pods, spec=spec, now=NOW)
        assert (before.reason, before.look_again_after) == ("Training", timedelta(seconds=60))
        found = step("FinetuneRun", recorded, jobs=(TRAIN,), pods=pods, spec=spec)
        assert (found.status.state, found.reason) == (StageState.PENDING, "PodStuckTerminating")
        assert (found.status.done, found.status.rate) == (40, None)
        assert found.message == found.status.message

    def test_a_shard_that_a_dead_node_holds_does_not_hide_the_others(self) -> None:
        pods = (running_pod(GENERATE), dead_pod(GENERATE, 1))
        found = step(jobs=(GENERATE,), pods=pods)
        assert (found.status.state, found.reason) == (StageState.RUNNING, "Generating")
        assert "math-generate-a1-1-x was told to end and has not" in found.message

    def test_a_job_that_is_being_deleted_says_when_a_pod_of_it_does_not_end(self) -> None:
        deleted = replace(GENERATE, deleting=True)
        assert step(jobs=(deleted,), pods=(dead_pod(GENERATE),), now=NOW).look_again_after == timedelta(seconds=60)
        assert step(jobs=(deleted,), pods=(dead_pod(GENERATE),)).reason == "PodStuckTerminating"

    def test_a_job_that_is_being_deleted_is_waited_for(self) -> None:
        found = step(jobs=(replace(GENERATE, deleting=True),), pods=(running_pod(GENERATE),))
        assert (created(found), found.delete) == ([], ())
        assert "is being deleted; waiting for its Pods to end" in found.message


class TestComplete:
    def test_takes_the_result(self) -> None:
        recorded = stage_status("generate", StageState.RUNNING, done=190, total=200, rate=2.0, eta_seconds=5)
        found = step(
            recorded=recorded,
            jobs=(complete_job(),),
            pods=(succeeded_pod(GENERATE, said=result({"generations": 200})),),
        )
        status = found.status
        assert (status.state, status.finished_at, status.message) == (StageState.SUCCEEDED, ENDED, "it is done")
        assert (status.done, status.total, status.rate, status.eta_seconds) == (200, 200, None, None)
        assert status.counts == {"generations": 200}
        assert status.artifact is not None

    def test_says_what_was_read(self) -> None:
        read = {"name": "prompts", "uri": "prompts.jsonl", "value": "sha256:1"}
        said = result(inputs=(InputFingerprint.model_validate(read),))
        found = step(jobs=(complete_job(),), pods=(succeeded_pod(GENERATE, said=said),))
        assert [each.to_json() for each in found.status.inputs] == [read]

    def test_figures_have_six_digits_and_whole_numbers_all_of_theirs(self) -> None:
        said = result(metrics={"loss": 0.11455632001161575, "rate": 1234567.8, "tokens": 33554432.0})
        found = step(jobs=(complete_job(),), pods=(succeeded_pod(GENERATE, said=said),))
        assert found.status.metrics == {"loss": 0.114556, "rate": 1234570.0, "tokens": 33554432.0}

    def test_reads_on_while_a_pod_s_words_may_be_under_way(self) -> None:
        recorded = stage_status("generate", StageState.RUNNING, job=GENERATE.name, started_at=NOW)
        found = step(recorded=recorded, jobs=(complete_job(),), now=ENDED, confirmed=False)
        assert (found.status, found.delete) == (recorded, ())
        assert found.look_again_after is not None

    def test_reads_on_while_a_pod_is_not_seen_to_have_ended(self) -> None:
        found = step(jobs=(complete_job(),), pods=(running_pod(GENERATE),), now=later(3600))
        assert found.delete == ()

    def test_a_lost_result_is_made_again(self) -> None:
        """The stage finds its artifact complete and only says so again."""
        found = step(jobs=(complete_job(),), now=later(3600))
        assert found.delete == (complete_job(),)
        assert "was lost with its Pods; running it again" in found.message

    @pytest.mark.parametrize("pods", [(), (running_pod(GENERATE),)], ids=["none", "one-that-runs"])
    def test_nothing_is_made_again_before_the_pods_were_read_anew(self, pods: tuple[PodView, ...]) -> None:
        """The watch that brings them may be late: by then a Job is complete none of whose Pods is known to be."""
        found = step(jobs=(complete_job(),), pods=pods, now=later(3600), confirmed=False)
        assert (found.delete, found.confirm) == ((), True)

    def test_a_job_says_where_it_writes_to(self) -> None:
        """What has begun is told from what would begin now (SpecChanged), though no status was written in between."""
        told = replace(GENERATE, output="npu-distill/team-a/math/generate-1")
        assert step(jobs=(told,), pods=(running_pod(told),)).status.output == told.output

    def test_a_result_that_cannot_be_read_would_be_no_better_the_next_time(self) -> None:
        mute = succeeded_pod(GENERATE)
        found = step(jobs=(complete_job(),), pods=(replace(mute, termination_message="{}"),), now=later(3600))
        assert (found.status.state, found.reason, found.delete) == (StageState.FAILED, "UnreadableResult", ())


class TestFailed:
    def test_the_next_attempt_goes_on_from_it(self) -> None:
        said = Result(outcome="Failed", reason="VolumeFull", message="no space is left")
        found = step("FinetuneRun", jobs=(failed_job(),), pods=(failed_pod(TRAIN, said=said),), now=later(70))
        assert created(found) == ["student-train-a2"]
        assert (found.status.attempt, found.status.reason) == (2, "VolumeFull")
        assert found.message == "Attempt 1 failed (VolumeFull: no space is left); attempt 2 goes on from it."

    def test_the_next_attempt_waits_a_moment(self) -> None:
        said = Result(outcome="Failed", reason="VolumeFailed", message="stale file handle")
        first = step("FinetuneRun", jobs=(failed_job(),), pods=(failed_pod(TRAIN, said=said),), now=ENDED)
        assert (created(first), first.look_again_after) == ([], timedelta(seconds=10))
        assert first.status.attempt == 2
        at = f"{later(70):%H:%M:%S}"
        assert first.message == (
            f"Attempt 1 failed (VolumeFailed: stale file handle); attempt 2 goes on from it after a pause, at {at} UTC."
        )
        jobs, pods = (failed_job(),), (failed_pod(TRAIN, said=said),)
        again = step("FinetuneRun", first.status, jobs, pods, now=later(64))
        assert (again.status, again.look_again_after) == (first.status, timedelta(seconds=6))
        last = step("FinetuneRun", again.status, jobs, pods, now=later(70))
        assert created(last) == ["student-train-a2"]

    @pytest.mark.parametrize(
        ("seconds_each", "pause"),
        [((5,), 10), ((5, 5), 20), ((5, 5, 5), 40), ((5, 3600, 5), 10), ((5, 5, 3600), 10), ((5,) * 9, 360)],
    )
    def test_the_pause_doubles_with_attempts_that_fail_soon(self, seconds_each: tuple[int, ...], pause: int) -> None:
        jobs, at = [], 0
        for attempt, seconds in enumerate(seconds_each, 1):
            view = job("FinetuneRun", "train", attempt=attempt, created_at=later(at))
            at += seconds
            jobs.append(failed_job(view, finished_at=later(at)))
        spec = {"restarts": {"max": 10}}
        found = step("FinetuneRun", jobs=tuple(jobs), pods=(failed_pod(jobs[-1]),), now=later(at), spec=spec)
        assert (created(found), found.look_again_after) == ([], timedelta(seconds=pause))

    @pytest.mark.parametrize(("reason", "pause"), [("TrainingStalled", None), ("DevicesStillHeld", 30)])
    def test_what_has_worked_goes_on_at_once(self, reason: str, pause: int | None) -> None:
        said = Result(outcome="Failed", reason=reason, message="m")
        before = stage_status("train", StageState.RUNNING, job=TRAIN.name, done=1200, done_before=400)
        spec = {"checkpoint": {"everySteps": 500}}
        found = step("FinetuneRun", before, (failed_job(),), (failed_pod(TRAIN, said=said),), ENDED, spec)
        assert created(found) == ([] if pause else ["student-train-a2"])
        assert found.look_again_after == (timedelta(seconds=pause) if pause else None)

    def test_devices_that_are_still_held_are_waited_for(self) -> None:
        said = Result(outcome="Failed", reason="DevicesStillHeld", message="EJ0001", failure_class="infrastructure")
        jobs, pods = (failed_job(),), (failed_pod(TRAIN, said=said),)
        first = step("FinetuneRun", jobs=jobs, pods=pods, now=ENDED)
        assert (created(first), first.look_again_after) == ([], timedelta(seconds=30))
        assert first.status.failure_class == "infrastructure"
        again = step("FinetuneRun", first.status, jobs, pods, now=ENDED + timedelta(seconds=29))
        assert (created(again), again.look_again_after) == ([], timedelta(seconds=1))
        last = step("FinetuneRun", again.status, jobs, pods, now=ENDED + timedelta(seconds=30))
        assert created(last) == ["student-train-a2"]

    def test_a_longer_pause_stays_longer(self) -> None:
        said = Result(outcome="Failed", reason="DevicesStillHeld", message="EJ0001")
        jobs = [
            failed_job(job("FinetuneRun", "train", attempt=n, created_at=later(5 * n)), finished_at=later(5 * n + 5))
            for n in (1, 2, 3)
        ]
        spec = {"restarts": {"max": 10}}
        pods = (failed_pod(jobs[-1], said=said),)
        found = step("FinetuneRun", jobs=tuple(jobs), pods=pods, now=later(20), spec=spec)
        assert found.look_again_after == timedelta(seconds=40)

    def test_whose_fault_it_was_is_in_the_status_until_it_succeeds(self) -> None:
        said = Result(outcome="WrongInput", reason="DeviceOutOfMemory", message="m", failure_class="workload")
        found = step("FinetuneRun", jobs=(failed_job(),), pods=(failed_pod(TRAIN, exit_code=78, said=said),))
        assert (found.status.state, found.status.failure_class) == (StageState.FAILED, "workload")
        second = complete_job(job("FinetuneRun", "train", attempt=2))
        before = stage_status("train", StageState.RUNNING, attempt=2, job=second.name, failure_class="infrastructure")
        ended = step("FinetuneRun", before, (second,), (succeeded_pod(second),), later(3600))
        assert (ended.status.state, ended.status.failure_class) == (StageState.SUCCEEDED, None)

    def test_a_pod_that_took_too_much_of_its_node_uses_up_restarts(self) -> None:
        """The kubelet says DisruptionTarget of it too, and the Job fails by the rule for those."""
        words = "Pod ns/x has condition DisruptionTarget matching FailJob rule at index 1"
        evicted = failed_pod(
            TRAIN, disruption="low on resource", pod_reason="Evicted", pod_message="was low on resource: memory"
        )
        found = step("FinetuneRun", jobs=(failed_job(failure_message=words),), pods=(evicted,), now=later(3600))
        assert (found.status.reason, found.status.disrupted) == ("Evicted", ())
        assert "low on resource: memory" in found.message

    def test_wrong_input_is_not_tried_again(self) -> None:
        found = step("FinetuneRun", jobs=(failed_job(),), pods=(wrong_input_pod(TRAIN),))
        assert created(found) == []
        assert (found.status.state, found.reason) == (StageState.FAILED, "ColumnMissing")
        assert found.message == (
            "Stage train failed: there is no column answer. Correct what is on the claim and set spec.retry to 1 "
            f"({RETRY_COMMAND}), which runs the stage again; or, if it is the spec, create the "
            "object again with it corrected."
        )

    def test_attempts_are_used_up(self) -> None:
        last = job("FinetuneRun", "train", attempt=4)
        before = stage_status("train", StageState.RUNNING, attempt=4, failures=3, job=last.name)
        found = step("FinetuneRun", before, (failed_job(last),), (failed_pod(last),))
        assert (created(found), found.status.state) == ([], StageState.FAILED)
        assert found.message.startswith("Stage train failed after 4 attempts: ")
        assert found.message.endswith(
            f"When the cause is mended, set spec.retry to 1 ({RETRY_COMMAND}), which runs the stage again, from where "
            "it was."
        )

    @pytest.mark.parametrize(
        ("pods", "failure_message", "recorded"),
        [
            ((failed_pod(TRAIN, 0, SIGTERM, disruption=DRAINED),), "", ()),
            ((failed_pod(TRAIN), failed_pod(TRAIN, 1, SIGTERM, disruption=DRAINED)), "", ()),
            ((), "Pod team-a/x has condition DisruptionTarget matching FailJob rule at index 1", ()),
            ((), "backoff limit", (1,)),
        ],
        ids=["its-pod", "another-pod", "its-job", "recorded-before-its-pods-were-gone"],
    )
    def test_a_disrupted_attempt_uses_up_no_restart(
        self, pods: tuple[PodView, ...], failure_message: str, recorded: tuple[int, ...]
    ) -> None:
        before = stage_status("train", StageState.RUNNING, job=TRAIN.name, disrupted=recorded)
        ended = failed_job(failure_message=failure_message)
        found = step("FinetuneRun", before, (ended,), pods, later(3600), {"restarts": {"max": 0}})
        assert (created(found), found.status.disrupted) == (["student-train-a2"], (1,))

    def test_a_disruption_is_recorded_while_its_pod_can_be_seen(self) -> None:
        drained = dead_pod(TRAIN, disruption=DRAINED)
        assert step("FinetuneRun", jobs=(TRAIN,), pods=(drained,), now=NOW).status.disrupted == (1,)

    def test_the_next_attempt_says_what_disrupted_the_last(self) -> None:
        found = step("FinetuneRun", jobs=(failed_job(),), pods=(failed_pod(TRAIN, 0, SIGTERM, disruption=DRAINED),))
        assert found.message == (
            "Attempt 1 failed (Disrupted: Pod student-train-a1-0-x was taken off its node: Eviction API: evicting); "
            "attempt 2 goes on from it."
        )

    def test_disruptions_do_not_hide_failures(self) -> None:
        """Three failures and one disruption, with two restarts."""
        last = job("FinetuneRun", "train", attempt=4)
        before = stage_status("train", StageState.RUNNING, attempt=4, failures=2, disrupted=(2,))
        found = step("FinetuneRun", before, (failed_job(last),), (failed_pod(last),), spec={"restarts": {"max": 2}})
        assert (created(found), found.status.state) == ([], StageState.FAILED)

    def test_wrong_input_is_not_tried_again_since_a_pod_was_drained(self) -> None:
        pods = (wrong_input_pod(TRAIN), failed_pod(TRAIN, 1, SIGTERM, disruption=DRAINED))
        assert created(step("FinetuneRun", jobs=(failed_job(),), pods=pods)) == []

    def test_an_attempt_that_starts_again_is_not_disrupted_yet(self) -> None:
        """Suspended while it was drained: its Job is started anew, and may fail by itself."""
        before = stage_status("train", StageState.PENDING, attempt=2, disrupted=(1, 2))
        assert step("FinetuneRun", before).status.disrupted == (1,)

    def test_a_job_that_replaces_drained_pods_is_not_ended_by_them(self) -> None:
        drained = failed_pod(GENERATE, 0, SIGTERM, disruption=DRAINED)
        found = step(jobs=(failed_job(GENERATE),), pods=(drained, failed_pod(GENERATE)))
        assert (found.status.state, found.status.disrupted) == (StageState.FAILED, ())

    def test_is_not_judged_before_its_pods_have_been_heard(self) -> None:
        """The Job's failure comes by another watch than the Pod that says that the input is wrong."""
        for pods in ((), (running_pod(TRAIN),), (failed_pod(TRAIN, 1, 143), running_pod(TRAIN))):
            found = step("FinetuneRun", jobs=(failed_job(),), pods=pods, now=ENDED, confirmed=False)
            assert (created(found), found.status.state) == ([], StageState.PENDING)
            assert found.look_again_after is not None

    def test_silent_pods_are_read_anew(self) -> None:
        """One of them may have said that the input is wrong, and another attempt would hold devices for nothing."""
        found = step("FinetuneRun", jobs=(failed_job(),), now=later(3600), confirmed=False)
        assert (created(found), found.confirm) == ([], True)

    def test_pods_that_are_gone_are_not_waited_for(self) -> None:
        """Somebody has deleted them: they went before their Job failed."""
        before = stage_status("train", StageState.RUNNING, job=TRAIN.name, done=1200, done_before=400)
        spec = {"checkpoint": {"everySteps": 500}}
        late = step("FinetuneRun", before, (failed_job(),), (), ENDED, spec, confirmed=False)
        assert (created(late), late.confirm) == ([], True)
        assert created(step("FinetuneRun", before, (failed_job(),), (), ENDED, spec)) == ["student-train-a2"]

    def test_pods_that_stay_silent_are_not_waited_for(self) -> None:
        found = step("FinetuneRun", jobs=(failed_job(),), now=later(3600))
        assert created(found) == ["student-train-a2"]
        assert "JobFailed: backoff limit" in found.message

    def test_stays_as_it_was_said_when_its_pods_are_gone(self) -> None:
        first = step("FinetuneRun", jobs=(failed_job(),), pods=(wrong_input_pod(TRAIN),))
        again = step("FinetuneRun", first.status, jobs=(failed_job(),), now=later(3600))
        assert again == first

    def test_the_latest_attempt_is_the_one_that_counts(self) -> None:
        second = job("FinetuneRun", "train", attempt=2)
        found = step("FinetuneRun", jobs=(second, failed_job()), pods=(running_pod(second),))
        assert (found.status.state, found.status.job) == (StageState.RUNNING, "student-train-a2")


class TestJobThatIsNotTakenUp:
    """With many Jobs at once the Job controller is late; only its own word says that Pods should be there."""

    created = replace(GENERATE, started_at=None)

    def test_looks_the_same_from_before_it_is_there_until_its_pods_start(self) -> None:
        asked_for = step(now=NOW)
        for views, pods in (((self.created,), ()), ((GENERATE,), ()), ((GENERATE,), (pod(GENERATE),))):
            found = step(recorded=asked_for.status, jobs=views, pods=pods, now=later(9))
            assert (found.status, found.reason, found.message) == (
                asked_for.status,
                asked_for.reason,
                asked_for.message,
            )

    def test_is_no_hindrance_for_minutes(self) -> None:
        found = step(jobs=(self.created,), now=later(60))
        assert (found.reason, found.look_again_after) == ("Generating", timedelta(seconds=240))

    def test_is_said_then(self) -> None:
        found = step(jobs=(self.created,), now=later(300))
        assert (found.reason, found.look_again_after) == ("JobNotTakenUp", None)

    def test_pods_are_missed_from_when_it_was_taken_up(self) -> None:
        late = replace(GENERATE, started_at=later(120))
        assert step(jobs=(late,), now=later(129)).look_again_after == timedelta(seconds=1)
        assert step(jobs=(late,), now=later(130)).reason == "NoPods"

    def test_one_that_is_held_back_says_so(self) -> None:
        """By a queue, which also ends the Pods of one that it has let go before."""
        held = replace(self.created, suspended=True)
        for pods in ((), (running_pod(GENERATE, deletion_timestamp=later(90)),)):
            found = step(jobs=(held,), pods=pods)
            assert (found.status.state, found.reason) == (StageState.PENDING, "JobSuspended")
        assert step(jobs=(held,), now=later(3600)).look_again_after is None


class TestRetry:
    def failed(self, **spec: Any) -> StageStatus:
        return step("FinetuneRun", jobs=(failed_job(),), pods=(wrong_input_pod(TRAIN),), spec=spec or None).status

    @pytest.mark.parametrize(
        "jobs", [(), (failed_job(),), (TRAIN,)], ids=["removed", "still-there", "of-a-watch-that-lags"]
    )
    def test_what_has_failed_stays_failed_whatever_jobs_there_are(self, jobs: tuple[JobView, ...]) -> None:
        found = step("FinetuneRun", self.failed(), jobs, now=later(86_400))
        assert (created(found), found.status) == ([], self.failed())

    @pytest.mark.parametrize("jobs", [(), (failed_job(),)], ids=["removed", "still-there"])
    def test_a_retry_starts_the_next_attempt_at_once_and_counts_anew(self, jobs: tuple[JobView, ...]) -> None:
        failed = self.failed().model_copy(update={"failures": 3, "done": 40})
        found = step("FinetuneRun", failed, jobs, spec={"retry": 1})
        assert created(found) == ["student-train-a2"]
        status = found.status
        assert (status.state, status.failures, status.done) == (StageState.PENDING, 0, 40)
        assert (status.reason, status.finished_at) == (None, None)

    def test_a_retry_is_taken_once(self) -> None:
        second = job("FinetuneRun", "train", attempt=2)
        recorded = step("FinetuneRun", self.failed(), spec={"retry": 1}).status
        again = step("FinetuneRun", recorded, (failed_job(second),), (wrong_input_pod(second),), spec={"retry": 1})
        assert (again.status.state, again.status.attempt) == (StageState.FAILED, 2)
        assert "set spec.retry to 2" in again.message
        assert created(step("FinetuneRun", again.status, spec={"retry": 1})) == []

    def test_a_retry_that_was_started_and_not_recorded_is_followed(self) -> None:
        second = job("FinetuneRun", "train", attempt=2)
        jobs = (failed_job(), second)
        found = step("FinetuneRun", self.failed(), jobs, (running_pod(second),), spec={"retry": 1})
        assert (found.status.state, found.status.attempt) == (StageState.RUNNING, 2)

    def test_a_retry_that_came_before_the_failure_is_none(self) -> None:
        """It was of an earlier stage, or the cause was not known yet. Wrong input is not tried again by it."""
        running = stage_status("train", StageState.RUNNING, job=TRAIN.name)
        found = step("FinetuneRun", running, (failed_job(),), (wrong_input_pod(TRAIN),), spec={"retry": 5})
        assert (found.status.state, found.status.retry) == (StageState.FAILED, 5)
        assert "set spec.retry to 6" in found.message
        assert created(step("FinetuneRun", found.status, (failed_job(),), spec={"retry": 5})) == []
        assert created(step("FinetuneRun", found.status, (failed_job(),), spec={"retry": 6})) == ["student-train-a2"]

    def test_a_result_that_could_not_be_read_is_not_read_again(self) -> None:
        mute = replace(succeeded_pod(GENERATE), termination_message="{}")
        failed = step(jobs=(complete_job(),), pods=(mute,), now=later(3600)).status
        found = step(recorded=failed, jobs=(complete_job(),), pods=(mute,), now=later(3600), spec={"retry": 1})
        assert created(found) == ["math-generate-a2"]

    @pytest.mark.parametrize("state", [StageState.PENDING, StageState.RUNNING])
    def test_a_job_that_was_removed_before_its_end_was_seen_starts_again(self, state: StageState) -> None:
        """By its TTL, while the operator was away, or by hand. What is complete on the claim is picked up."""
        recorded = stage_status("train", state, attempt=2, job="student-train-a2", failures=1)
        found = step("FinetuneRun", recorded, (failed_job(),), now=later(3600))
        assert (created(found), found.status.failures) == (["student-train-a2"], 1)


class TestProgressOfAttempts:
    """Failures count since the last attempt that got further."""

    def after(self, kind: str, view: JobView, spec: dict[str, Any] | None = None, **before: Any) -> Step:
        recorded = stage_status(view.stage, StageState.RUNNING, attempt=view.attempt, job=view.name, **before)
        return step(kind, recorded, (failed_job(view),), (failed_pod(view),), later(3600), spec)

    def test_one_that_got_further_is_followed_by_another(self) -> None:
        """As of a generation whose teacher restarts every night."""
        found = self.after("DistillDataset", job(attempt=9), done=500, done_before=400)
        assert created(found) == ["math-generate-a10"]
        assert (found.status.failures, found.status.done_before) == (0, 500)

    def test_one_that_did_not_is_the_last(self) -> None:
        found = self.after("DistillDataset", job(attempt=10), done=500, done_before=500)
        assert (created(found), found.status.state) == ([], StageState.FAILED)

    def test_one_that_did_only_again_what_others_had_done_got_no_further(self) -> None:
        found = self.after("DistillDataset", job(attempt=2), done=300, done_before=500)
        assert found.status.state is StageState.FAILED

    @pytest.mark.parametrize(("done", "failures"), [(999, 3), (1000, 0)])
    def test_training_got_further_once_it_has_saved_more(self, done: int, failures: int) -> None:
        spec = {"checkpoint": {"everySteps": 500}}
        view = job("FinetuneRun", "train", attempt=7)
        found = self.after("FinetuneRun", view, spec, done=done, done_before=510, failures=2)
        assert created(found) == ["student-train-a8"]
        assert (found.status.failures, found.status.done_before) == (failures, done)

    def test_a_drained_attempt_that_got_no_further_changes_nothing(self) -> None:
        view = job("FinetuneRun", "train", attempt=7)
        found = self.after("FinetuneRun", view, failures=3, disrupted=(7,))
        assert (created(found), found.status.failures) == (["student-train-a8"], 3)

    def test_failures_count_while_the_operator_is_away_between_job_and_status(self) -> None:
        second = job("FinetuneRun", "train", attempt=2)
        recorded = stage_status("train", StageState.RUNNING, job=TRAIN.name, done=40)
        found = step("FinetuneRun", recorded, (failed_job(), second), (failed_pod(TRAIN), running_pod(second)))
        assert (found.status.attempt, found.status.failures, found.status.done_before) == (2, 1, 40)

    def test_failures_are_counted_once_while_an_attempt_pauses(self) -> None:
        pods = (failed_pod(TRAIN),)
        first = step("FinetuneRun", jobs=(failed_job(),), pods=pods, now=ENDED)
        last = step("FinetuneRun", first.status, (failed_job(),), pods, later(3600))
        assert (created(last), last.status.failures) == (["student-train-a2"], 1)

    def test_restarts_max_may_be_raised_while_it_runs(self) -> None:
        view = job("FinetuneRun", "train", attempt=4)
        assert created(self.after("FinetuneRun", view, {"restarts": {"max": 4}}, failures=3)) == ["student-train-a5"]


class TestLookalikes:
    """`kubectl get -o yaml | kubectl apply` copies labels and ownerReferences along."""

    copied = replace(GENERATE, name="copied", uid="copied")
    bare = replace(running_pod(GENERATE), name="bare", job_uid="")

    def test_do_not_disturb_what_runs(self) -> None:
        found = step(jobs=(GENERATE, self.copied), pods=(running_pod(GENERATE), self.bare, running_pod(self.copied)))
        assert (found.status.state, found.status.job) == (StageState.RUNNING, GENERATE.name)

    def test_take_no_result_away(self) -> None:
        failed = failed_job(self.copied, finished_at=later(1))
        found = step(jobs=(complete_job(), failed), pods=(succeeded_pod(GENERATE), failed_pod(failed), self.bare))
        assert found.status.state is StageState.SUCCEEDED

    @pytest.mark.parametrize(
        ("jobs", "pods", "named"),
        [
            ((), (bare,), "pod bare"),
            ((copied,), (), "job copied"),
            ((replace(GENERATE, owner_uid=""),), (), "job math-generate-a1"),
            ((failed_job(GENERATE, owner_uid=""),), (), "job math-generate-a1"),
        ],
        ids=["pod", "job", "orphan", "ended-orphan-of-the-name"],
    )
    def test_are_in_the_way_of_a_start(self, jobs: tuple[JobView, ...], pods: tuple[PodView, ...], named: str) -> None:
        found = step(jobs=jobs, pods=pods)
        assert (created(found), found.reason, found.status.job) == ([], "StrayInTheWay", None)
        assert f"`kubectl delete {named}`" in found.message

    def test_that_have_ended_under_another_name_are_not(self) -> None:
        assert created(step(jobs=(failed_job(self.copied),), pods=(replace(self.bare, phase="Failed"),)))


class TestFencedAttempts:
    """Of training, whose attempts shut those before them out: nothing waits for a node that may never come back."""

    SPEC: ClassVar = {"accelerator": {"profile": "cpu", "nodes": 2}}
    RUNNING: ClassVar = stage_status("train", StageState.RUNNING, job=TRAIN.name, done=40, unit="steps", started_at=NOW)

    def found(self, recorded: StageStatus, jobs: tuple[JobView, ...], pods: tuple[PodView, ...], **more: Any) -> Step:
        return step("FinetuneRun", recorded, jobs, pods, spec=self.SPEC, **more)

    def test_a_pod_of_a_silent_node_is_not_waited_for(self) -> None:
        held = dead_pod(TRAIN, 1, node_silent=True, deletion_timestamp=later(600))  # whoever has told it to end
        lives = running_pod(TRAIN, node="node-1")
        first = self.found(self.RUNNING, (TRAIN,), (lives, held), now=NOW)
        assert (first.delete, first.reason) == ((TRAIN,), "PodStuckTerminating")
        deleted, ended = replace(TRAIN, deleting=True), failed_pod(TRAIN, exit_code=SIGTERM, node="node-1")
        ending = self.found(first.status, (deleted,), (replace(lives, deletion_timestamp=later(600)), held), now=NOW)
        assert created(ending) == []  # what still saves a checkpoint has its grace period
        second = self.found(first.status, (deleted,), (ended, held), now=NOW)
        assert created(second) == ["student-train-a2"]
        assert (second.status.failures, second.avoid) == (0, ())  # the node's taint keeps Pods away
        (lost,) = second.status.attempts
        assert (lost.reason, lost.failure_class, lost.nodes) == ("NodeLost", "infrastructure", ("node-1", "node-7"))

    def test_what_was_left_behind_does_not_hide_the_next_attempt(self) -> None:
        """Also where the operator has written nothing since: it creates before it writes."""
        second = job("FinetuneRun", "train", attempt=2)
        jobs = (replace(TRAIN, deleting=True), second)
        held = dead_pod(TRAIN, node_silent=True, disruption="Taint manager")
        found = self.found(self.RUNNING, jobs, (held, running_pod(second)), now=NOW)
        assert (found.status.state, found.status.attempt, found.status.disrupted) == (StageState.RUNNING, 2, (1,))
        assert [(record.attempt, record.reason) for record in found.status.attempts] == [(1, "NodeLost"), (2, None)]

    def test_a_node_that_does_not_end_a_pod_is_avoided(self) -> None:
        """The kubelet answers, and a process hangs in a driver: the node has no taint."""
        held = dead_pod(TRAIN)
        found = self.found(self.RUNNING, (replace(TRAIN, deleting=True),), (held,), now=later(60))
        assert (created(found), found.avoid) == (["student-train-a2"], ("node-7",))
        assert found.status.failures == 1

    def test_a_node_with_a_faulty_device_is_avoided_for_a_day(self) -> None:
        said = Result(outcome="Failed", reason="DeviceFault", message="EJ0002", failure_class="infrastructure")
        pods = (failed_pod(TRAIN, said=said, node="node-7"),)
        first = self.found(self.RUNNING, (failed_job(),), pods, now=later(3600))
        assert (created(first), first.avoid) == (["student-train-a2"], ("node-7",))
        recorded = first.status.model_copy(update={"state": StageState.RUNNING})
        again = {hours: self.found(recorded, (), (), now=later(hours * 3600)).avoid for hours in (23, 25)}
        assert again == {23: ("node-7",), 25: ()}

    def test_devices_that_are_not_ready_on_two_nodes_are_no_node_s_fault(self) -> None:
        said = Result(outcome="WrongInput", reason="DeviceNotReady", message="no /dev/davinci0")
        pods = (failed_pod(TRAIN, 0, 78, said, node="node-7"),)
        first = self.found(self.RUNNING, (failed_job(),), pods, now=later(3600))
        assert (created(first), first.avoid) == (["student-train-a2"], ("node-7",))
        second = failed_job(job("FinetuneRun", "train", attempt=2))
        found = self.found(first.status, (second,), (failed_pod(second, 0, 78, said, node="node-8"),), now=later(7200))
        assert (found.status.state, found.reason) == (StageState.FAILED, "DeviceNotReady")

    def test_an_attempt_is_told_with_what_it_has_cost(self) -> None:
        """What was lost is known when the next one begins, and said by it."""

        def says(done: int, resumed: float, computing: float, lost: float) -> Progress:
            figures = {
                "resumedFromStep": resumed,
                "lostSteps": lost,
                "computingDeviceMinutes": computing,
                "lostDeviceMinutes": 0.5,
            }
            return progress(done, 100, metrics=figures)

        first = self.found(
            stage_status("train", StageState.PENDING, job=TRAIN.name),
            (TRAIN,),
            (running_pod(TRAIN, node="node-1"),),
            progress={"student-train-a1-0-x": says(45, 0, 0, 0)},
        )
        second = job("FinetuneRun", "train", attempt=2)
        found = self.found(
            first.status,
            (failed_job(), second),
            (failed_pod(TRAIN, node="node-1"), running_pod(second, node="node-2")),
            progress={"student-train-a2-0-x": says(40, 40, 12.5, 7)},
        )
        before, now_running = found.status.attempts
        assert before.to_json() == {
            "attempt": 1,
            "nodes": ["node-1"],
            "beganAt": "2026-01-02T03:04:05Z",
            "endedAt": "2026-01-02T03:05:05Z",
            "reason": "StageFailed",
            "failureClass": "unknown",
            "resumedFromStep": 0,
            "toStep": 47,
            "lostSteps": 7,
            "computingDeviceMinutes": 12.5,
            "lostDeviceMinutes": 0.0,
        }
        assert (now_running.resumed_from_step, now_running.nodes, now_running.ended_at) == (40, ("node-2",), None)

    def test_the_latest_are_kept(self) -> None:
        many = tuple(AttemptStatus(attempt=number) for number in range(1, 13))
        last = job("FinetuneRun", "train", attempt=13)
        recorded = self.RUNNING.model_copy(update={"attempt": 13, "attempts": many})
        found = self.found(recorded, (last,), (running_pod(last),))
        assert [record.attempt for record in found.status.attempts] == list(range(2, 14))

    def test_what_a_lost_attempt_had_completed_is_its_own(self) -> None:
        """It went on where nobody heard of it: the next finds the artifact complete, and tells what that cost."""
        first = AttemptStatus(attempt=1, nodes=("node-1", "node-7"), to_step=40, reason="NodeLost", ended_at=NOW)
        second = job("FinetuneRun", "train", attempt=2)
        recorded = self.RUNNING.model_copy(update={"attempt": 2, "job": second.name, "attempts": (first,)})
        said = result(metrics={"computingDeviceMinutes": 5.0})
        found = self.found(recorded, (complete_job(second),), (succeeded_pod(second, said=said, node="node-2"),))
        assert [(one.attempt, one.nodes, one.computing_device_minutes) for one in found.status.attempts] == [
            (1, ("node-1", "node-7"), 5.0),
            (2, ("node-2",), None),
        ]

    def test_the_last_one_came_to_the_end_whatever_it_was_heard_to_say_last(self) -> None:
        heard = AttemptStatus(attempt=1, nodes=("node-1",), resumed_from_step=0, to_step=95)
        recorded = self.RUNNING.model_copy(update={"attempts": (heard,)})
        pods = (succeeded_pod(TRAIN, said=result(metrics={"steps": 100}), node="node-1"),)
        (ended,) = self.found(recorded, (complete_job(TRAIN),), pods).status.attempts
        assert (ended.resumed_from_step, ended.to_step) == (0, 100)

    def test_a_pod_that_has_ended_and_is_gone_is_remembered(self) -> None:
        before = self.found(
            self.RUNNING, (TRAIN,), (running_pod(TRAIN, node="node-1"), running_pod(TRAIN, 1, node="node-7"))
        )
        after = self.found(before.status, (TRAIN,), (running_pod(TRAIN, 1, node="node-7"),))
        assert after.status.attempts[0].nodes == ("node-1", "node-7")
