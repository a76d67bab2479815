"""What Kubernetes says of Pods, in words that say what to do."""

from dataclasses import replace
from datetime import timedelta

import pytest
from unit.operator.builders import (
    NOW,
    SETTINGS,
    dead_pod,
    failed_pod,
    job,
    known,
    later,
    pod,
    resource,
    running_pod,
    succeeded_pod,
    wrong_input_pod,
)

from distill_operator.observation import PodView
from distill_operator.plan.failures import Failure, failure, unreadable_result
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.obstacles import obstacle, stuck_terminating, until_overdue
from distill_operator.plan.stages import Stage
from distill_runtime.contract import Result

JOB = job("FinetuneRun", "train", failure_message="Job has reached the specified backoff limit")
SIGKILL, SIGTERM = 137, 143


def stage() -> Stage:
    run = resource("FinetuneRun", {"accelerator": {"profile": "ascend-910b", "nodes": 2, "devicesPerNode": 8}})
    planned = KIND_PLANS["FinetuneRun"].plan_stage(run, "train", {}, known("FinetuneRun"), SETTINGS)
    assert isinstance(planned, Stage)
    return planned


def test_a_pod_that_fits_nowhere_says_what_it_asks_for() -> None:
    found = obstacle(stage(), JOB, [pod(JOB, unschedulable="0/2 nodes are available.")], later(1))
    assert found is not None
    assert found.message == (
        "Pod student-train-a1-0-x fits on no node: 0/2 nodes are available. "
        "It asks for 8 huawei.com/Ascend910 on one node."
    )


def test_pulling_in_vain_and_backing_off_are_one_state() -> None:
    """The kubelet alternates between the two with different words: each would be a write and an Event."""
    said = [
        obstacle(stage(), JOB, [pod(JOB, waiting_reason=reason, waiting_message=words)], later(1))
        for reason, words in (("ErrImagePull", "not found"), ("ImagePullBackOff", "Back-off pulling image"))
    ]
    assert said[0] == said[1]
    assert said[0] is not None


def test_a_secret_that_is_missing_is_named_with_what_to_do() -> None:
    waits = pod(JOB, waiting_reason="CreateContainerConfigError", waiting_message='secret "hub" not found')
    found = obstacle(stage(), JOB, [waits], later(1))
    assert found is not None
    assert found.reason == "CreateContainerConfigError"
    assert found.message == (
        'Pod student-train-a1-0-x cannot start: secret "hub" not found. Create it, and the Pod starts.'
    )


def test_a_server_that_cannot_be_started_is_quoted() -> None:
    waits = pod(JOB, waiting_reason="CrashLoopBackOff", server_ended="StartError", server_message="exec: sh: not found")
    found = obstacle(stage(), JOB, [waits], later(1))
    assert found is not None
    assert found.reason == "ServerFailed"
    assert found.message == "The server of Pod student-train-a1-0-x cannot be started: exec: sh: not found"


@pytest.mark.parametrize(
    "waits", [pod(JOB), pod(JOB, waiting_reason="ContainerCreating"), failed_pod(JOB, unschedulable="0/2")]
)
def test_a_pod_that_is_on_its_way_or_has_ended_is_no_obstacle(waits: PodView) -> None:
    assert obstacle(stage(), JOB, [waits], later(3600)) is None


class TestStuckTerminating:
    def test_names_the_pod_and_its_node_and_what_ends_it(self) -> None:
        found = obstacle(stage(), JOB, [running_pod(JOB, 1), dead_pod(JOB)], later(60))
        assert found is not None
        assert found.reason == "PodStuckTerminating"
        assert found.message == (
            "Pod student-train-a1-0-x was told to end and has not: its node node-7 is down, or hangs. It ends when the "
            "node is back. Once the node is surely off, "
            "`kubectl taint node node-7 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute` ends it, or "
            "`kubectl delete node node-7` if the node will not come back."
        )

    @pytest.mark.parametrize(
        ("pods", "seconds", "ahead"),
        [
            ([dead_pod(JOB)], 59, 1),
            ([dead_pod(JOB)], -30, 90),
            ([dead_pod(JOB), dead_pod(JOB, 1, deletion_timestamp=later(10))], 59, 1),
            ([running_pod(JOB)], 3600, None),
            ([failed_pod(JOB, node="node-7", deletion_timestamp=NOW)], 3600, None),
            ([pod(JOB, deletion_timestamp=NOW)], 3600, None),
        ],
        ids=["nearly", "grace-period", "first-of-two", "not-deleted", "ended", "on-no-node"],
    )
    def test_is_not_said_of_others(self, pods: list[PodView], seconds: float, ahead: float | None) -> None:
        now = later(seconds)
        assert stuck_terminating(pods, now) is None
        assert until_overdue(pods, now) == (timedelta(seconds=ahead) if ahead is not None else None)

    def test_needs_no_second_look(self) -> None:
        assert until_overdue([dead_pod(JOB)], later(60)) is None


class TestFailure:
    @pytest.mark.parametrize(
        ("ended", "expected"),
        [
            (wrong_input_pod(JOB), Failure("ColumnMissing", "there is no column answer", True, "workload")),
            (
                failed_pod(JOB, said=Result(outcome="Failed", reason="VolumeFull", message="no space")),
                Failure("VolumeFull", "no space"),
            ),
            (
                failed_pod(JOB, exit_code=SIGKILL, exit_reason="OOMKilled"),
                Failure(
                    "OutOfMemory",
                    "Pod student-train-a1-0-x was killed at its memory limit: raise its resources in spec.podTemplate, "
                    "or in the chart's values.",
                    failure_class="workload",
                ),
            ),
            (
                failed_pod(
                    JOB,
                    server_ended="OOMKilled",
                    said=Result(outcome="Failed", reason="ServerFailed", message="ended by signal 9"),
                ),
                Failure(
                    "OutOfMemory",
                    "The server of Pod student-train-a1-0-x was killed at its memory limit: raise its resources in "
                    "spec.podTemplate, or those of the server or the accelerator profile in the chart's values.",
                    failure_class="workload",
                ),
            ),
            (
                failed_pod(JOB, pod_reason="Evicted", pod_message="The node was low on memory."),
                Failure("Evicted", "Pod student-train-a1-0-x: The node was low on memory.", False, "infrastructure"),
            ),
            (
                failed_pod(JOB, exit_code=SIGKILL),
                Failure("PodKilled", "Pod student-train-a1-0-x was killed (exit code 137).", False, "infrastructure"),
            ),
            (
                failed_pod(JOB, exit_code=SIGTERM, said=Result(outcome="Terminated", reason="Terminated", message="")),
                Failure("PodKilled", "Pod student-train-a1-0-x was killed (exit code 143).", False, "infrastructure"),
            ),
            (
                failed_pod(JOB, termination_message="Traceback\n  …\nValueError: x\n"),
                Failure("StageFailed", "Pod student-train-a1-0-x ended with exit code 1: ValueError: x"),
            ),
            (failed_pod(JOB), Failure("StageFailed", "Pod student-train-a1-0-x ended with exit code 1")),
        ],
        ids=[
            "wrong-input",
            "said",
            "memory",
            "memory-of-the-server",
            "evicted",
            "killed",
            "terminated",
            "log",
            "silent",
        ],
    )
    def test_of_one_pod(self, ended: PodView, expected: Failure) -> None:
        assert failure(JOB, [ended]) == expected

    def test_without_pods_is_what_the_job_says(self) -> None:
        assert failure(JOB, []) == Failure("JobFailed", "Job has reached the specified backoff limit")

    def test_the_pod_that_tells_most_is_quoted(self) -> None:
        """The others ended because it did."""
        pods = [failed_pod(JOB, 0, SIGTERM, finished_at=later(0)), wrong_input_pod(JOB, 1), failed_pod(JOB, 2, SIGKILL)]
        assert failure(JOB, pods).reason == "ColumnMissing"

    def test_of_equals_the_first_to_end_is_quoted(self) -> None:
        first = failed_pod(JOB, 1, finished_at=later(1), termination_message="the first")
        second = failed_pod(JOB, 0, finished_at=later(2), termination_message="the second")
        assert "the first" in failure(JOB, [second, first]).message

    @pytest.mark.parametrize(
        ("others", "reason"),
        [((), "OutOfMemory"), ((wrong_input_pod(JOB, 1),), "ColumnMissing")],
        ids=["given-up", "wrong-input"],
    )
    def test_what_a_shard_got_over_is_not_blamed(self, others: tuple[PodView, ...], reason: str) -> None:
        given_up = replace(JOB, failed_indexes=frozenset({2}))
        away = Result(outcome="Failed", reason="EndpointUnreachable", message="no endpoint answered")
        killed = failed_pod(JOB, 2, SIGKILL, exit_reason="OOMKilled", finished_at=later(9))
        assert failure(given_up, [failed_pod(JOB, 0, said=away), killed, *others]).reason == reason

    def test_pods_that_ended_well_are_not_blamed(self) -> None:
        assert failure(JOB, [succeeded_pod(JOB)]).reason == "JobFailed"


def test_an_unreadable_result_is_quoted() -> None:
    mute = replace(succeeded_pod(JOB), termination_message='{"outcome": "Great"}')
    found = unreadable_result([succeeded_pod(JOB, 1), mute])
    assert found is not None
    assert '{"outcome": "Great"}' in found.message
    assert unreadable_result([succeeded_pod(JOB)]) is None
