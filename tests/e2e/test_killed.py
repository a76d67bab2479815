"""What is killed at any stage goes on: the operator, and a Pod of each stage."""

import pytest

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import eventually

STAGES = {"generate": "distilldataset", "filter": "distilldataset", "pack": "distilldataset"}
ALL_STAGES = {**STAGES, "train": "finetunerun", "eval": "evalrun"}


def _kill_operator(workspace: Workspace) -> None:
    selector = "app.kubernetes.io/name=npu-distill"
    namespace = workspace.installation.namespace
    workspace.kubectl("delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force")


def _started_jobs(workspace: Workspace) -> list[str]:
    return sorted(job["metadata"]["labels"]["npu-distill.io/stage"] for job in workspace.jobs())


def test_the_operator_killed_in_each_stage_goes_on_without_a_second_job(workspace: Workspace) -> None:
    workspace.teacher(latency=0.05)
    workspace.apply(workspace.evaluation(), workspace.finetune(), workspace.dataset())
    for stage in ALL_STAGES:
        eventually(lambda: stage in _started_jobs(workspace), f"a Job of stage {stage}", 180, every=0.1)  # noqa: B023
        _kill_operator(workspace)
    workspace.wait_for("evalrun")
    assert _started_jobs(workspace) == sorted(ALL_STAGES)
    assert sum(workspace.teacher_stats()["answered"].values()) == 400


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_deleted_pod_of_a_stage_is_replaced_and_the_stage_completes(workspace: Workspace, stage: str) -> None:
    workspace.teacher(latency=0.1 if stage == "generate" else 0)
    # Filter and pack are done with a few hundred rows before anybody can hit their Pod: give them all there are.
    limit = None if stage in ("filter", "pack") else 200
    dataset = workspace.dataset(source={"prompts": {"limit": limit}})
    workspace.apply(workspace.evaluation(), workspace.finetune(), dataset)
    pod = workspace.running_pod(stage, 180)["metadata"]
    workspace.kubectl("delete", "pod", pod["name"], "-n", workspace.namespace, "--wait=false")
    kind = ALL_STAGES[stage]
    workspace.wait_for(kind)
    if kind == "distilldataset":
        status = workspace.status(kind)
        assert status["kept"] + sum(status["rejected"].values()) == 2 * status["prompts"] == status["generations"]
    if stage == "train":
        assert workspace.status(kind)["restarts"] == 1
