"""One stage's attempts: what is done next, for everything that can be seen of its Jobs and Pods."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    SETTINGS,
    complete,
    dead_pod,
    failed_pod,
    job,
    key,
    later,
    observation,
    pod,
    progress,
    ready,
    resource,
    result,
    running_pod,
    stage_status,
    succeeded_pod,
    wrong_input_pod,
)

from distill_operator.api import StageState, StageStatus
from distill_operator.observation import JobView, Observation, PodView
from distill_operator.plan.attempts import Step, step_stage
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Stage
from distill_runtime.contract import InputFingerprint, Progress, Result

TRAIN = job("FinetuneRun", "train")
GENERATE = job()
ENDED = later(60)
SIGTERM = 143
DRAINED = "Eviction API: evicting"


def stage(kind: str, spec: dict[str, Any] | None = None) -> Stage:
    name, dependency = {"FinetuneRun": ("train", ready("DistillDataset")), "DistillDataset": ("generate", None)}[kind]
    planned = KIND_PLANS[kind].plan_stage(resource(kind, spec), name, {}, dependency, SETTINGS)
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
) -> Step:
    seen: Observation = observation(kind, jobs=jobs, pods=pods, progress=progress or {})
    return step_stage(key(kind), stage(kind, spec), recorded, seen, SETTINGS, now)


def created(found: Step) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in found.create if manifest["kind"] == "Job"]


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
            message="Job math-generate-a1 starts.",
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

    def test_jobs_of_another_object_are_not_its_own(self) -> None:
        assert created(step(jobs=(replace(GENERATE, owner_uid="another"),))) == ["math-generate-a1"]


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
        recorded = stage_status("generate", StageState.RUNNING, job=GENERATE.name, done=50)
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
        recorded = stage_status("generate", StageState.RUNNING, job=GENERATE.name)
        found = step(recorded=recorded, jobs=(complete_job(),), now=ENDED)
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
            "Stage train failed: there is no column answer. Correct what is on the claim and "
            "`kubectl delete job student-train-a1`, which runs the stage again; or, if it is the spec, create "
            "the object again with it corrected."
        )

    def test_attempts_are_used_up(self) -> None:
        last = job("FinetuneRun", "train", attempt=4)
        found = step("FinetuneRun", jobs=(failed_job(), failed_job(last)), pods=(failed_pod(last),))
        assert (created(found), found.status.state) == ([], StageState.FAILED)
        assert found.message.startswith("Stage train failed after 4 attempts: ")
        assert found.message.endswith(
            "When the cause is mended, `kubectl delete job student-train-a4` runs the stage again, from where it was."
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
        before = stage_status("train", StageState.RUNNING, attempt=4, disrupted=(2,))
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

    def test_a_failed_job_that_is_deleted_runs_again(self) -> None:
        recorded = step("FinetuneRun", jobs=(failed_job(),), pods=(wrong_input_pod(TRAIN),)).status
        found = step("FinetuneRun", recorded)
        assert created(found) == ["student-train-a1"]
        assert (found.status.state, found.status.reason) == (StageState.PENDING, None)

    def test_is_not_judged_before_its_pods_have_been_heard(self) -> None:
        """The Job's failure comes by another watch than the Pod that says that the input is wrong."""
        for pods in ((), (running_pod(TRAIN),), (failed_pod(TRAIN, 1, 143), running_pod(TRAIN))):
            found = step("FinetuneRun", jobs=(failed_job(),), pods=pods, now=ENDED)
            assert (created(found), found.status.state) == ([], StageState.PENDING)
            assert found.look_again_after is not None

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
