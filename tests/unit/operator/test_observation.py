"""Jobs and Pods reduced to what decisions are made from."""

from datetime import UTC, datetime
from typing import Any

import pytest

from distill_operator.observation import (
    CONTRACT_ANNOTATION,
    JobView,
    PodView,
    ResourceKey,
    owner_key,
    view_job,
    view_pod,
)

LABELS = {
    "npu-distill.io/kind": "FinetuneRun",
    "npu-distill.io/name": "student",
    "npu-distill.io/uid": "owner",
    "npu-distill.io/stage": "train",
    "npu-distill.io/attempt": "2",
}
OWNERS = [{"kind": "FinetuneRun", "name": "student", "uid": "owner", "controller": True}]
METADATA = {"name": "child", "namespace": "team-a", "uid": "u", "labels": LABELS, "ownerReferences": OWNERS}
AT = "2026-01-02T03:04:05Z"
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_child_s_labels_name_its_object() -> None:
    assert owner_key({"metadata": METADATA}) == ResourceKey("FinetuneRun", "team-a", "student")


@pytest.mark.parametrize(
    ("contract", "output"),
    [
        ('{"stage": "pack", "output": "npu-distill/team-a/math/pack-1"}', "npu-distill/team-a/math/pack-1"),
        ('{"stage": "pack"}', None),
        ('{"output": 7}', None),
        ("[]", None),
        ("not JSON", None),
    ],
)
def test_a_job_writes_to_where_its_contract_says(contract: str, output: str | None) -> None:
    template = {"metadata": {"annotations": {CONTRACT_ANNOTATION: contract}}}
    assert view_job({"metadata": METADATA, "spec": {"template": template}}).output == output


@pytest.mark.parametrize("labels", [{}, {"npu-distill.io/kind": "FinetuneRun"}, {"app": "other"}])
def test_others_belong_to_no_object(labels: dict[str, str]) -> None:
    assert owner_key({"metadata": {**METADATA, "labels": labels}}) is None


def job(**status: Any) -> JobView:
    return view_job({"metadata": {**METADATA, "creationTimestamp": AT}, "status": status})


def test_a_new_job() -> None:
    assert job() == JobView("child", "u", "owner", "train", 2, created_at=TIME)


@pytest.mark.parametrize(
    ("condition", "complete", "failed"),
    [
        ({"type": "Complete", "status": "True"}, True, False),
        ({"type": "Failed", "status": "True", "message": "limit"}, False, True),
        ({"type": "Failed", "status": "False"}, False, False),
        ({"type": "SuccessCriteriaMet", "status": "True"}, False, False),
        ({"type": "FailureTarget", "status": "True"}, False, False),
        ({"type": "Suspended", "status": "True"}, False, False),
    ],
)
def test_a_job_has_ended_by_its_last_condition_only(condition: dict[str, str], complete: bool, failed: bool) -> None:
    """FailureTarget and SuccessCriteriaMet come while Pods still end."""
    seen = job(conditions=[{**condition, "lastTransitionTime": AT}])
    assert (seen.complete, seen.failed, seen.finished) == (complete, failed, complete or failed)
    assert seen.finished_at == (TIME if seen.finished else None)
    assert seen.failure_message == ("limit" if failed else "")


@pytest.mark.parametrize(
    ("text", "indexes"), [("", set()), ("0", {0}), ("1,3-5", {1, 3, 4, 5}), ("0,1,7-9,11", {0, 1, 7, 8, 9, 11})]
)
def test_indexes_that_a_job_has_given_up(text: str, indexes: set[int]) -> None:
    """Two that follow each other are written with a comma, more as a span (Job controller, orderedIntervals)."""
    assert job(failedIndexes=text).failed_indexes == indexes


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({"active": 1}, 0),
        ({"failed": 1, "succeeded": 2}, 3),
        ({"uncountedTerminatedPods": {"failed": ["uid"]}}, 1),
    ],
)
def test_a_job_knows_of_pods_that_are_gone(status: dict[str, Any], ended: int) -> None:
    assert job(**status).ended_pods == ended


def test_a_job_that_is_being_deleted() -> None:
    assert view_job({"metadata": {**METADATA, "deletionTimestamp": AT}}).deleting


def pod(**status: Any) -> PodView:
    owners = [{"kind": "Job", "name": "student-train-a2", "uid": "job-uid", "controller": True}]
    annotations = {"batch.kubernetes.io/job-completion-index": "3"}
    return view_pod({"metadata": {**METADATA, "ownerReferences": owners, "annotations": annotations}, "status": status})


def test_a_new_pod_belongs_to_its_job_by_uid() -> None:
    assert pod() == PodView("child", "owner", "job-uid", 3)


def test_a_pod_that_is_scheduled_nowhere() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]
    assert pod(conditions=conditions).unschedulable == "0/2 nodes"
    scheduled = pod(conditions=[{"type": "PodScheduled", "status": "True", "lastTransitionTime": AT}])
    assert (scheduled.unschedulable, scheduled.scheduled_at) == ("", TIME)


def test_a_pod_that_waits() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off"}
    seen = pod(containerStatuses=[{"name": "stage", "state": {"waiting": waiting}}])
    assert (seen.waiting_reason, seen.waiting_message) == ("ImagePullBackOff", "Back-off")


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1, "message": "no such option"}}


@pytest.mark.parametrize(
    ("stage", "server", "seen"),
    [
        (INITIALIZING, {"state": {"waiting": {"reason": "ErrImagePull"}}}, ("ErrImagePull", "", "")),
        (INITIALIZING, {"state": BACK_OFF, "lastState": CRASHED}, ("CrashLoopBackOff", "Error", "no such option")),
        (INITIALIZING, {"state": {"running": {}}}, ("PodInitializing", "", "")),
        ({"running": {}}, {"state": BACK_OFF, "lastState": KILLED}, ("", "OOMKilled", "")),
        ({"running": {}}, {"state": {"running": {}}, "lastState": KILLED}, ("", "OOMKilled", "")),
        ({"running": {}}, {"state": CRASHED}, ("", "Error", "no such option")),
    ],
    ids=["image", "not-started", "started", "killed", "started-again", "ended"],
)
def test_a_pod_with_a_server_beside_its_stage(
    stage: dict[str, Any], server: dict[str, Any], seen: tuple[str, str, str]
) -> None:
    """What the stage's container waits for is the server's to say; once it runs, it says so itself."""
    statuses = [{"name": "istio-init", "state": KILLED}, {"name": "server", **server}]
    view = pod(containerStatuses=[{"name": "stage", "state": stage}], initContainerStatuses=statuses)
    assert (view.waiting_reason, view.server_ended, view.server_message) == seen


def test_a_pod_that_is_being_deleted() -> None:
    seen = view_pod({"metadata": {**METADATA, "deletionTimestamp": AT}, "spec": {"nodeName": "node-7"}})
    assert (seen.deleting, seen.deletion_timestamp, seen.node) == (True, TIME, "node-7")


def disrupted_pod(status: str = "True", metadata: dict[str, Any] | None = None, **more: Any) -> PodView:
    condition = {"type": "DisruptionTarget", "status": status, "message": "Eviction API: evicting"}
    return view_pod({"metadata": {**METADATA, **(metadata or {})}, "status": {"conditions": [condition], **more}})


@pytest.mark.parametrize(
    ("seen", "disrupted"),
    [
        (disrupted_pod(metadata={"deletionTimestamp": AT}), True),
        (disrupted_pod(phase="Failed"), True),
        (disrupted_pod(phase="Running"), False),
        (disrupted_pod("False", phase="Failed"), False),
        (pod(phase="Failed"), False),
        (disrupted_pod(phase="Failed", reason="Evicted"), False),
        (disrupted_pod(phase="Failed", reason="Terminated"), True),
    ],
    ids=[
        "being-deleted",
        "ended",
        "came-to-nothing-yet",
        "came-to-nothing",
        "not-disrupted",
        "used-too-much",
        "shutdown",
    ],
)
def test_a_pod_is_disrupted_once_it_ends(seen: PodView, disrupted: bool) -> None:
    assert seen.disrupted is disrupted


def test_a_job_quotes_the_rule_for_disrupted_pods_by_which_it_failed() -> None:
    words = "{} matching FailJob rule at index 1"
    by_disruption = words.format("Pod team-a/x has condition DisruptionTarget")
    by_exit_code = words.format("Container stage for pod team-a/x failed with exit code 78")
    for message, disrupted in ((by_disruption, True), (by_exit_code, False)):
        assert job(conditions=[{"type": "Failed", "status": "True", "message": message}]).disrupted is disrupted


def test_a_pod_that_has_ended() -> None:
    terminated = {"exitCode": 78, "reason": "Error", "message": "{}", "finishedAt": AT}
    proxy = {"name": "istio-proxy", "state": {"terminated": {**terminated, "exitCode": 0, "message": ""}}}
    stage = {"name": "stage", "state": {"terminated": terminated}}
    seen = pod(phase="Failed", containerStatuses=[proxy, stage])  # the kubelet sorts them by name
    assert (seen.finished, seen.exit_code, seen.exit_reason) == (True, 78, "Error")
    assert (seen.termination_message, seen.finished_at) == ("{}", TIME)


@pytest.mark.parametrize(
    ("status", "deleting", "running"),
    [
        ({"phase": "Running", "podIP": "10.0.0.1"}, False, True),
        ({"phase": "Running", "podIP": "10.0.0.1"}, True, False),
        ({"phase": "Running"}, False, False),
        ({"phase": "Pending", "podIP": "10.0.0.1"}, False, False),
    ],
)
def test_a_pod_is_asked_only_while_it_can_answer(status: dict[str, str], deleting: bool, running: bool) -> None:
    metadata = {**METADATA, "deletionTimestamp": AT} if deleting else METADATA
    assert view_pod({"metadata": metadata, "status": status}).running is running


NOT_OWNED: dict[str, Any] = {**METADATA, "ownerReferences": []}


def test_labels_do_not_say_whose_a_job_or_a_pod_is() -> None:
    """They are copied along with a manifest."""
    assert view_job({"metadata": NOT_OWNED}).owner_uid == ""
    copied = view_pod(
        {"metadata": {**NOT_OWNED, "labels": {**LABELS, "batch.kubernetes.io/controller-uid": "job-uid"}}}
    )
    assert (copied.job_uid, copied.owner_uid) == ("", "owner")


def test_only_an_owner_that_controls_counts() -> None:
    others = [{"kind": "ConfigMap", "name": "x", "uid": "another"}, *OWNERS]
    assert view_job({"metadata": {**METADATA, "ownerReferences": others}}).owner_uid == "owner"


@pytest.mark.parametrize("attempt", ["", "two", "-1", "9" * 5000, "\u0663"])
def test_an_attempt_that_is_no_number_is_none_of_ours(attempt: str) -> None:
    """Names are compared with what stage and attempt give, and there is no attempt 0."""
    labels = {**LABELS, "npu-distill.io/attempt": attempt}
    assert view_job({"metadata": {**METADATA, "labels": labels}}).attempt == 0


def test_a_job_that_was_taken_up() -> None:
    assert job(startTime=AT).started_at == TIME


def test_a_job_that_is_held_back() -> None:
    assert view_job({"metadata": METADATA, "spec": {"suspend": True}}).suspended


@pytest.mark.parametrize(
    ("ready", "containers_ready", "silent"),
    [
        ({"status": "False"}, "True", True),
        ({"status": "True"}, "True", False),
        ({"status": "False", "reason": "ContainersNotReady"}, "False", False),
        ({"status": "False", "reason": "ReadinessGatesNotReady"}, "True", False),
    ],
    ids=["node-controller", "runs", "container", "gate"],
)
def test_a_node_is_silent_where_the_node_controller_contradicts_its_kubelet(
    ready: dict[str, str], containers_ready: str, silent: bool
) -> None:
    conditions = [{"type": "Ready", **ready}, {"type": "ContainersReady", "status": containers_ready}]
    assert view_pod({"metadata": {"name": "p"}, "status": {"conditions": conditions}}).node_silent is silent
