"""A Pod of any stage that is deleted is replaced, a server that is killed is started again, and nothing is lost."""

from tests.e2e.workspace import STAGES, Workspace
from tests.harness.kubectl import eventually

BRIEF = ("filter", "pack")
"""Stages that would be done before their Pod is hit, were they not slowed down (Workspace.limit_cpu); generate is by
its teacher."""


def _another(workspace: Workspace, stage: str, name: str) -> str | None:
    names = [pod["metadata"]["name"] for pod in workspace.pods(stage)]
    return next((other for other in names if other != name), None)


def _kill_server(workspace: Workspace, pod: str) -> None:
    """Kill all that runs in the server's container but its first process, which takes note of it and ends."""
    running = ("--for=jsonpath={.status.phase}=Running", "--timeout=300s")
    workspace.kubectl("wait", f"pod/{pod}", "-n", workspace.namespace, *running, timeout=330)
    workspace.kubectl("exec", pod, "-n", workspace.namespace, "-c", "server", "--", "sh", "-c", "kill -9 -1")


def test_a_pod_deleted_in_each_stage_is_replaced_and_nothing_is_lost(workspace: Workspace) -> None:
    workspace.teacher(latency=1)
    workspace.apply(workspace.evaluation(), workspace.finetune(), workspace.dataset())
    for stage in STAGES:
        if stage in BRIEF:
            workspace.limit_cpu(0.05)
        pod = workspace.running_pod(stage)["metadata"]["name"]
        eventually(lambda: workspace.log(pod), f"{pod} is at work")  # noqa: B023
        workspace.kubectl("delete", "pod", pod, "-n", workspace.namespace, "--wait=false")
        if stage in BRIEF:
            workspace.unlimit_cpu()  # in time for the next Pod, before which there is a pause of 10 s
        another = eventually(lambda: _another(workspace, stage, pod), f"another Pod of stage {stage}")  # noqa: B023
    _kill_server(workspace, another)
    workspace.wait_for("evalrun")
    (evaluated,) = (each for each in workspace.pods("eval") if each["metadata"]["name"] == another)
    assert evaluated["status"]["initContainerStatuses"][0]["restartCount"] == 1
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
