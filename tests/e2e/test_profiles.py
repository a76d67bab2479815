"""Accelerator profiles, those of the chart and those of docs/operating.md: a real API server takes their Jobs and Pods.

None of them runs: `--dry-run=server` validates and admits, and stores nothing.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from unit.operator.builders import UID, key, ready, resource

from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.manifests import attempt_manifests
from distill_operator.plan.stages import Stage
from distill_operator.settings import Settings
from tests.e2e.workspace import Manifest, Workspace, open_workspace
from tests.harness.installation import Installation

ROOT = Path(__file__).parents[2]
VALUES: Manifest = yaml.safe_load((ROOT / "helm/npu-distill/values.yaml").read_text())
SHIPPED: Manifest = VALUES["profiles"]
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
DOCUMENTED = [
    (name, fields)
    for block in YAML_BLOCK.findall((ROOT / "docs/operating.md").read_text())
    if block.startswith("profiles:\n")
    for name, fields in yaml.safe_load(block)["profiles"].items()
]
RUNS = {"FinetuneRun": ("train", "DistillDataset"), "EvalRun": ("eval", "FinetuneRun")}
NODES = {"FinetuneRun": 2, "EvalRun": 1}


@pytest.fixture(scope="module")
def workspace(installation: Installation) -> Iterator[Workspace]:
    """Give one namespace to all tests: only the last one leaves something in it."""
    with open_workspace(installation, "e2e-profiles") as opened:
        yield opened


def installed(workspace: Workspace, **profiles: Manifest) -> Settings:
    """What the chart has configured the operator with, and `profiles` beside it."""
    installation = workspace.installation
    found = workspace.kubectl.get("configmap", installation.release, installation.namespace)
    configuration = yaml.safe_load(found["data"]["operator.yaml"])
    configuration["profiles"] |= profiles
    return Settings.model_validate(configuration)


def children(
    workspace: Workspace, kind: str, profile: str, settings: Settings, spec: Manifest | None = None
) -> list[Manifest]:
    """The children of an attempt that asks for as many devices of a node as a Pod may have."""
    stage, dependency = RUNS[kind]
    found = settings.profiles[profile]
    devices = max(found.allowed_devices, default=found.devices_per_node or 1)
    accelerator = {"profile": profile, "nodes": NODES[kind], "devicesPerNode": devices}
    run = resource(kind, {"accelerator": accelerator, **(spec or {})})
    planned = KIND_PLANS[kind].plan_stage(run, stage, {}, {key(dependency): ready(dependency)}, settings)
    assert isinstance(planned, Stage), planned
    manifests = attempt_manifests(key(kind), UID, planned, 1, (), settings)
    for manifest in manifests:
        manifest["metadata"]["namespace"] = workspace.namespace
    return manifests


def admitted(workspace: Workspace, manifest: Manifest) -> Manifest:
    """The manifest as the API server would store it."""
    create = ("create", "--dry-run=server", "-f", "-", "-o", "json")
    answer: Manifest = json.loads(workspace.kubectl(*create, stdin=json.dumps(manifest)))
    return answer


def pod_of(job: Manifest) -> Manifest:
    """A Pod as the Job's controller makes it."""
    template = job["spec"]["template"]
    metadata = {"name": f"{job['metadata']['name']}-0", "namespace": job["metadata"]["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], **metadata},
        "spec": template["spec"],
    }


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("profile", SHIPPED)
def test_jobs_of_shipped_profiles_and_their_pods_are_taken(workspace: Workspace, kind: str, profile: str) -> None:
    """Their Pods in a namespace that enforces Pod Security restricted."""
    manifests = children(workspace, kind, profile, installed(workspace))
    for manifest in manifests:
        assert admitted(workspace, manifest)["kind"] == manifest["kind"]
    pod = admitted(workspace, pod_of(manifests[-1]))
    (container,) = pod["spec"]["containers"]
    assert container["resources"].get("limits", {}).keys() >= {"memory"}
    assert "Unconfined" not in json.dumps(pod["spec"]["securityContext"])


@pytest.mark.parametrize("server", VALUES["servers"])
def test_pods_with_a_shipped_server_beside_the_stage_are_taken(workspace: Workspace, server: str) -> None:
    serve = {"serve": {"server": server}}
    (job,) = children(workspace, "EvalRun", "ascend-910b", installed(workspace), serve)
    assert admitted(workspace, job)["kind"] == "Job"
    pod = admitted(workspace, pod_of(job))
    (container,) = pod["spec"]["initContainers"]
    assert (container["name"], container["restartPolicy"]) == ("server", "Always")


@pytest.mark.parametrize(
    "queue", [{"kueue": "team-a", "workloadPriorityClass": "high"}, {"volcano": {"queue": "team-a"}}]
)
def test_jobs_in_queues_are_taken(workspace: Workspace, queue: Manifest) -> None:
    """By an API server without these systems, to which theirs are labels and annotations like others."""
    *_, job = children(workspace, "FinetuneRun", "ascend-910b", installed(workspace), {"queue": queue})
    assert admitted(workspace, job)["spec"]["suspend"] == ("kueue" in queue)
    assert admitted(workspace, pod_of(job))["kind"] == "Pod"


@pytest.mark.parametrize(
    ("profile", "fields"), DOCUMENTED, ids=[f"{name}-{i}" for i, (name, _) in enumerate(DOCUMENTED)]
)
def test_jobs_of_documented_profiles_are_taken(workspace: Workspace, profile: str, fields: Manifest) -> None:
    """Only their Jobs: Pods with the driver's files, or on the node's network, are not for a restricted namespace."""
    shipped = SHIPPED.get(profile, {})
    merged = {**shipped, **fields, "env": {**shipped.get("env", {}), **fields.get("env", {})}}
    manifests = children(workspace, "FinetuneRun", profile, installed(workspace, **{profile: merged}))
    job = admitted(workspace, manifests[-1])
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {volume["name"] for volume in fields.get("volumes", [])} <= {volume["name"] for volume in pod["volumes"]}
    assert {variable["name"] for variable in container["env"]} >= merged["env"].keys()
    assert pod.get("hostNetwork", False) == fields.get("hostNetwork", False)


def test_a_user_that_the_image_does_not_know_has_a_name_in_a_stage(workspace: Workspace) -> None:
    """On a read-only root and without any right: HCCL asks for it."""
    settings = installed(workspace)
    *_, job = children(workspace, "FinetuneRun", "cpu", settings)
    pod = pod_of(job)
    pod["metadata"] = {
        "name": "anybody",
        "namespace": workspace.namespace,
        "annotations": pod["metadata"]["annotations"],
    }
    spec = pod["spec"]
    spec["securityContext"] |= {"runAsUser": 54321, "runAsGroup": 0}
    for field in ("subdomain", "topologySpreadConstraints"):
        spec.pop(field)
    (container,) = spec["containers"]
    container["command"] = ["/usr/local/bin/entrypoint.sh", "id", "-un"]
    del container["args"]
    workspace.apply(pod)
    phase = "--for=jsonpath={.status.phase}=Succeeded"
    workspace.kubectl("wait", "pod/anybody", "-n", workspace.namespace, phase, "--timeout=90s")
    assert workspace.log("anybody").strip() == "npu-distill-54321"
