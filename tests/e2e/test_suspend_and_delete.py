"""Suspending frees the Pods and resuming completes; deleting leaves nothing behind."""

from pathlib import Path

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import condition, eventually

CHILDREN = ("jobs", "pods", "configmaps", "services")


def test_suspending_generate_frees_its_pods_and_resuming_completes(workspace: Workspace) -> None:
    workspace.teacher(latency=0.5)
    workspace.apply(workspace.dataset(teacher={"shards": 2, "maxConcurrentRequests": 4}))
    workspace.running_pod("generate")
    eventually(lambda: workspace.teacher_stats()["answered"]["right"] > 20, "20 answers")
    workspace.suspend("distilldataset", True)
    eventually(lambda: workspace.reason("distilldataset") == "Suspended", "reason Suspended")
    eventually(lambda: not workspace.live_pods("generate"), "no Pod left")
    verdict = condition(workspace.get("distilldataset"), "Reconciling")
    assert verdict["status"] == "False"
    answered = sum(workspace.teacher_stats()["answered"].values())
    workspace.suspend("distilldataset", False)
    status = workspace.wait_for("distilldataset")["status"]
    assert status["kept"] + sum(status["rejected"].values()) == 400 == status["generations"]
    in_flight = 4
    assert sum(workspace.teacher_stats()["answered"].values()) <= 400 + in_flight
    assert answered < 400


def test_an_object_that_is_created_suspended_starts_nothing(workspace: Workspace) -> None:
    workspace.apply(workspace.dataset(suspend=True))
    eventually(lambda: workspace.reason("distilldataset") == "Suspended", "reason Suspended")
    assert workspace.jobs() == []


def test_an_object_that_the_operator_has_not_seen_is_not_taken_for_one_that_is_done(
    workspace: Workspace, tmp_path: Path
) -> None:
    """kstatus takes an object without any status for Current."""
    seen = tmp_path / "seen"

    def lines(name: str) -> list[str]:
        return [line for line in seen.read_text().splitlines() if line.startswith(f"{name} ")]

    with workspace.watching("distilldataset", "{.metadata.name} {.status.observedGeneration}", seen):
        for name in ("first", "second"):  # the watch is surely there from before the second is
            workspace.apply(workspace.dataset(name, suspend=True))
            eventually(lambda: f"{name} 1" in lines(name), f"{name} is looked at")  # noqa: B023
    assert lines("second")[0] == "second -1"


def test_deleting_leaves_nothing_and_creating_again_picks_up_what_was_done(workspace: Workspace) -> None:
    workspace.teacher()
    workspace.apply(workspace.dataset(), workspace.finetune(), workspace.evaluation())
    workspace.wait_for("distilldataset")
    artifact = workspace.status("distilldataset")["artifact"]
    workspace.running_pod("train")
    workspace.kubectl("delete", "distill", "--all", "-n", workspace.namespace, timeout=120)
    selector = "app.kubernetes.io/managed-by=npu-distill"
    for kind in CHILDREN:
        eventually(lambda: not workspace.kubectl.list(kind, workspace.namespace, selector), f"no {kind} left")  # noqa: B023
    asked = workspace.teacher_stats()
    workspace.apply(workspace.dataset())
    assert workspace.wait_for("distilldataset")["status"]["artifact"] == artifact
    assert workspace.teacher_stats() == asked
