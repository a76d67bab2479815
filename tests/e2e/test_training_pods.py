"""Training over two nodes, its faults, and devices that the cluster does not have: runs of one data set."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.workspace import LONG_TRAINING, Workspace, open_workspace
from tests.harness.installation import Installation
from tests.harness.kubectl import condition, eventually

CHILDREN_OF_RUNS = "npu-distill.io/kind in (FinetuneRun, EvalRun)"


@pytest.fixture(scope="module")
def packed(installation: Installation) -> Iterator[Workspace]:
    """Give a namespace with a data set that is Ready."""
    with open_workspace(installation, "e2e-training-pods") as opened:
        opened.shrink_student()
        opened.teacher()
        opened.apply(opened.dataset())
        opened.wait_for("distilldataset")
        yield opened


@pytest.fixture
def workspace(packed: Workspace) -> Iterator[Workspace]:
    """Give it to one test, and take its runs away, with what the next of their name would go on from."""
    yield packed
    packed.kubectl("delete", "finetuneruns,evalruns", "--all", "-n", packed.namespace, timeout=120)
    eventually(lambda: not packed.kubectl.list("jobs,pods", packed.namespace, CHILDREN_OF_RUNS), "no child is left")
    runs = f"/data/npu-distill/{packed.namespace}/sums"
    packed.on_volume("sh", "-c", f"rm -rf {runs}/train-* {runs}/eval-*")


def test_two_pods_on_two_nodes_train_together_and_a_lost_one_ends_the_attempt_in_seconds(workspace: Workspace) -> None:
    workspace.apply(workspace.finetune(accelerator={"nodes": 2}, training=LONG_TRAINING))
    workspace.wait_for_step(6)
    first = workspace.pods("train")
    assert len({pod["spec"]["nodeName"] for pod in first}) == 2
    names = {pod["metadata"]["name"] for pod in first}
    workspace.kubectl("delete", "pod", min(names), "-n", workspace.namespace, "--wait=false")

    def ended() -> bool:
        return not names & {pod["metadata"]["name"] for pod in workspace.live_pods("train")}

    eventually(ended, "both Pods of the first attempt have ended, none after a grace period of 30 s", 25)
    workspace.wait_for_resumption("sums-train-a2")
    assert workspace.status("finetunerun")["restarts"] == 1
    assert "AttemptFailed" in workspace.event_reasons()


def test_a_drained_pod_uses_up_no_restart(workspace: Workspace) -> None:
    workspace.apply(workspace.finetune(training=LONG_TRAINING, restarts={"max": 0}))
    workspace.wait_for_step(6)
    (drained,) = (pod["metadata"]["name"] for pod in workspace.pods("train"))
    names = {"name": drained, "namespace": workspace.namespace}
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names})  # as `kubectl drain` does
    path = f"/api/v1/namespaces/{workspace.namespace}/pods/{drained}/eviction"
    workspace.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
    workspace.wait_for_resumption("sums-train-a2")
    status = workspace.status("finetunerun")
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    (first,) = (job for job in workspace.jobs() if job["metadata"]["name"].endswith("-train-a1"))
    failed = next(item for item in first["status"]["conditions"] if item["type"] == "Failed")
    assert "has condition DisruptionTarget" in failed["message"]  # what an operator that was away goes by
    assert "AttemptDisrupted" in workspace.event_reasons()


def test_a_run_that_asks_for_more_devices_than_a_node_has_says_why_it_is_pending(workspace: Workspace) -> None:
    workspace.apply(workspace.finetune(accelerator={"profile": "fake-npu", "devicesPerNode": 16}))
    eventually(lambda: workspace.reason("finetunerun") == "Unschedulable", "reason Unschedulable")
    ready = condition(workspace.get("finetunerun"), "Ready")
    assert "Insufficient huawei.com/Ascend910" in ready["message"]
    assert "16 huawei.com/Ascend910" in ready["message"]
    assert workspace.stage("finetunerun", "train-preflight")["state"] == "Succeeded"
    assert "Unschedulable" in workspace.event_reasons("Warning")


def test_devices_are_asked_of_the_scheduler_for_training_and_evaluating_alone(
    workspace: Workspace,
) -> None:
    """Of objects of one name, whose children must not take each other's place."""
    device = {"accelerator": {"profile": "fake-npu", "devicesPerNode": 1}}
    workspace.apply(workspace.finetune(**device), workspace.evaluation(**device))
    for kind, stage, containers in (("finetunerun", "train", "containers"), ("evalrun", "eval", "initContainers")):
        pod = workspace.running_pod(stage)
        (holder,) = pod["spec"][containers]  # of an evaluation, the server beside it
        assert holder["resources"]["limits"]["huawei.com/Ascend910"] == "1"
        assert workspace.stage(kind, f"{stage}-preflight")["state"] == "Succeeded"
    for stage in ("train-preflight", "export", "eval-preflight"):
        (pod,) = workspace.pods(stage)
        assert "huawei.com/Ascend910" not in pod["spec"]["containers"][0]["resources"].get("limits", {})


def test_suspending_a_training_on_devices_resumes_from_its_checkpoint(workspace: Workspace) -> None:
    accelerator = {"profile": "fake-npu", "devicesPerNode": 1}
    workspace.apply(workspace.finetune(training=LONG_TRAINING, accelerator=accelerator))
    workspace.wait_for_step(8)
    workspace.suspend("finetunerun", True)
    eventually(lambda: not workspace.live_pods("train"), "no Pod left")
    workspace.suspend("finetunerun", False)
    workspace.wait_for_resumption("sums-train-a1")
    assert workspace.status("finetunerun")["restarts"] == 0
