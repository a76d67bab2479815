"""What is killed at any stage goes on: the operator, and a Pod of each stage."""

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import eventually

STAGES = ("generate", "filter", "pack", "train", "eval")
BRIEF = ("generate", "filter", "pack")
"""Stages that would be done before their Pod is hit, were they not slowed down (Workspace.limit_cpu)."""


def _kill_operator(workspace: Workspace) -> None:
    selector = "app.kubernetes.io/name=npu-distill"
    namespace = workspace.installation.namespace
    workspace.kubectl("delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force")


def _started_jobs(workspace: Workspace) -> list[str]:
    return sorted(job["metadata"]["labels"]["npu-distill.io/stage"] for job in workspace.jobs())


def _others(workspace: Workspace, stage: str, name: str) -> list[str]:
    names = [pod["metadata"]["name"] for pod in workspace.pods(stage)]
    return [other for other in names if other != name]


def test_the_operator_killed_in_each_stage_goes_on_without_a_second_job(workspace: Workspace) -> None:
    workspace.teacher(latency=0.05)
    workspace.apply(workspace.evaluation(), workspace.finetune(), workspace.dataset())
    for stage in STAGES:
        eventually(lambda: stage in _started_jobs(workspace), f"a Job of stage {stage}", 180, every=0.1)  # noqa: B023
        _kill_operator(workspace)
    workspace.wait_for("evalrun")
    assert _started_jobs(workspace) == sorted(STAGES)
    assert sum(workspace.teacher_stats()["answered"].values()) == 400


def test_a_pod_deleted_in_each_stage_is_replaced_and_nothing_is_lost(workspace: Workspace) -> None:
    workspace.teacher()
    workspace.limit_cpu(0.15)
    workspace.apply(workspace.evaluation(), workspace.finetune(), workspace.dataset())
    for stage in STAGES:
        if stage in BRIEF:
            workspace.limit_cpu(0.15)
        pod = workspace.running_pod(stage, 180)["metadata"]["name"]
        eventually(lambda: workspace.log(pod), f"{pod} is at work", 60, every=0.2)  # noqa: B023
        if stage in BRIEF:
            workspace.unlimit_cpu()
        workspace.kubectl("delete", "pod", pod, "-n", workspace.namespace, "--wait=false")
        eventually(lambda: _others(workspace, stage, pod), f"another Pod of stage {stage}", 60)  # noqa: B023
    workspace.wait_for("evalrun")
    status = workspace.status("distilldataset")
    assert status["kept"] + sum(status["rejected"].values()) == 2 * status["prompts"] == status["generations"]
    failed = {job["metadata"]["name"]: job["status"].get("failed", 0) for job in workspace.jobs()}
    assert failed == {
        "sums-generate-a1": 1,
        "sums-filter-a1": 1,
        "sums-pack-a1": 1,
        "sums-train-a1": 1,
        "sums-train-a2": 0,
        "sums-eval-a1": 1,
    }
    assert workspace.status("finetunerun")["restarts"] == 1
