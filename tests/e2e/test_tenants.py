"""What a team can reach with the edit role on our kinds, and what the operator's account is good for: each tried.

docs/security.md has the same as a table. Everything is asked of a real API server; most of it with `--dry-run=server`,
which goes through all admission.
"""

import copy
import json
from typing import Any

import pytest

from tests.e2e.workspace import Manifest, Workspace
from tests.harness.kubectl import CommandError, condition, eventually

TENANT = "tenant"


def told(workspace: Workspace, user: str, *arguments: str, stdin: str | None = None) -> str:
    """Give what kubectl is told as another user: the API server's refusal; nothing, if it takes it."""
    try:
        workspace.kubectl("--as", user, *arguments, stdin=stdin)
    except CommandError as error:
        return str(error)
    return ""


def creates(workspace: Workspace, user: str, manifest: Manifest) -> str:
    return told(workspace, user, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def operator_of(workspace: Workspace) -> str:
    installation = workspace.installation
    return f"system:serviceaccount:{installation.namespace}:{installation.release}"


# ---- the operator's account ----


def stage_job(workspace: Workspace) -> Manifest:
    """Give a Job as the operator makes it, as far as it is looked at."""
    owner = {
        "apiVersion": "npu-distill.io/v1alpha1",
        "kind": "DistillDataset",
        "name": "sums",
        "uid": "1",
        "controller": True,
    }
    labels = {"app.kubernetes.io/managed-by": "npu-distill"}
    metadata = {"name": "sums-generate-a1", "namespace": workspace.namespace, "labels": labels}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{"name": "stage", "image": "runtime"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "ownerReferences": [owner]},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def merged(manifest: Manifest, change: dict[str, Any]) -> Manifest:
    result = copy.deepcopy(manifest)
    for name, value in change.items():
        result[name] = merged(result.get(name, {}), value) if isinstance(value, dict) else value
    return result


def with_pod(**fields: Any) -> Manifest:
    return {"spec": {"template": {"spec": fields}}}


def secret_volume(**source: Any) -> Manifest:
    return with_pod(volumes=[{"name": "a", **source}])


NOT_FOR_STAGES = "Secret private is not for stage Pods"
REFUSED_JOBS: dict[str, tuple[Manifest, str]] = {
    "another's": (
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}},
        "the operator's Jobs have the label",
    ),
    "nobody's": ({"metadata": {"ownerReferences": None}}, "one of its objects as owner"),
    "a token": (with_pod(automountServiceAccountToken=None), "no token of a service account"),
    "a projected token": (
        secret_volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        "no token of a service account",
    ),
    "another account": (with_pod(serviceAccountName="admin"), "no ServiceAccount but those"),
    "a host path": (secret_volume(hostPath={"path": "/"}), "no host path but those"),
    "the host's processes": (with_pod(hostPID=True), "none of the host's process and IPC namespaces"),
    "the host's network": (with_pod(hostNetwork=True), "do not use the host's network"),
    "a privileged container": (
        with_pod(containers=[{"name": "stage", "image": "x", "securityContext": {"privileged": True}}]),
        "no container of a stage Pod is privileged",
    ),
    "a Secret as a variable": (
        with_pod(
            containers=[
                {
                    "name": "stage",
                    "image": "x",
                    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "private", "key": "a"}}}],
                }
            ]
        ),
        NOT_FOR_STAGES,
    ),
    "a Secret as variables": (
        with_pod(containers=[{"name": "stage", "image": "x", "envFrom": [{"secretRef": {"name": "private"}}]}]),
        NOT_FOR_STAGES,
    ),
    "a Secret of a sidecar": (
        with_pod(initContainers=[{"name": "s", "image": "x", "envFrom": [{"secretRef": {"name": "private"}}]}]),
        NOT_FOR_STAGES,
    ),
    "a Secret as files": (secret_volume(secret={"secretName": "private"}), NOT_FOR_STAGES),
    "a Secret among others as files": (
        secret_volume(projected={"sources": [{"secret": {"name": "private"}}]}),
        NOT_FOR_STAGES,
    ),
    "a Secret for a registry": (with_pod(imagePullSecrets=[{"name": "private"}]), NOT_FOR_STAGES),
}


def make_secret(workspace: Workspace, name: str, labels: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": workspace.namespace, "labels": labels}
    workspace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}})


def test_the_operator_s_account_makes_its_own_jobs_and_no_others(workspace: Workspace) -> None:
    """Whoever gets hold of it has no more than this."""
    operator, right = operator_of(workspace), stage_job(workspace)
    make_secret(workspace, "private", {})
    make_secret(workspace, "shared", {"npu-distill.io/allow": "true"})
    eventually(
        lambda: NOT_FOR_STAGES in creates(workspace, operator, merged(right, REFUSED_JOBS["a Secret as files"][0])),
        "the API server knows of the Secret",
    )
    said = {name: creates(workspace, operator, merged(right, change)) for name, (change, _) in REFUSED_JOBS.items()}
    assert {name: words for name, words in said.items() if REFUSED_JOBS[name][1] not in words} == {}
    shared = merged(right, secret_volume(secret={"secretName": "shared"}))
    assert creates(workspace, operator, right) == creates(workspace, operator, shared) == ""


def test_the_operator_s_account_deletes_its_own_jobs_and_no_others(workspace: Workspace) -> None:
    foreign = merged(stage_job(workspace), {"metadata": {"name": "foreign", "labels": None, "ownerReferences": None}})
    workspace.kubectl.apply(merged(foreign, {"spec": {"suspend": True}}))
    words = told(
        workspace, operator_of(workspace), "delete", "job", "foreign", "-n", workspace.namespace, "--dry-run=server"
    )
    assert "the operator's Jobs have the label" in words


def test_the_operator_s_account_makes_headless_services_only(workspace: Workspace) -> None:
    job = stage_job(workspace)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": job["metadata"],
        "spec": {"clusterIP": "None", "ports": [{"port": 8118}]},
    }
    operator = operator_of(workspace)
    assert creates(workspace, operator, service) == ""
    exposed = merged(service, {"spec": {"clusterIP": None, "type": "NodePort"}})
    assert "the operator's Services are headless" in creates(workspace, operator, exposed)
    assert "the operator's Services have the label" in creates(
        workspace, operator, merged(service, {"metadata": {"labels": None}})
    )


MAY_NOT = (
    *("get secrets", "list secrets", "get configmaps", "patch jobs", "create pods", "get nodes", "impersonate users"),
    *("get pods --subresource=log", "create pods --subresource=exec", "create serviceaccounts --subresource=token"),
    *("create rolebindings", "update distilldatasets"),
)


@pytest.mark.parametrize("action", MAY_NOT)
def test_the_operator_s_account_may_not(workspace: Workspace, action: str) -> None:
    assert told(workspace, operator_of(workspace), "auth", "can-i", *action.split(), "--all-namespaces")


# ---- a team ----


def bind_tenant(workspace: Workspace) -> None:
    """Give the user the edit role on our kinds in this namespace, and nothing else."""
    role = f"{workspace.installation.release}-edit"
    workspace.kubectl(
        "create", "rolebinding", "tenant", f"--clusterrole={role}", f"--user={TENANT}", "-n", workspace.namespace
    )


def test_a_team_with_the_edit_role_reaches_nothing_but_its_objects(workspace: Workspace) -> None:
    bind_tenant(workspace)
    here, elsewhere = workspace.namespace, workspace.installation.namespace
    dataset = workspace.dataset()

    def may(*action: str, namespace: str = here) -> bool:
        return not told(workspace, TENANT, "auth", "can-i", *action, "-n", namespace)

    assert eventually(lambda: creates(workspace, TENANT, dataset) == "", "the role is bound")
    assert may("delete", "finetuneruns")
    assert may("list", "evalruns")
    denied = (
        *("get secrets", "create pods", "create jobs", "create configmaps", "get configmaps", "create rolebindings"),
        *("get pods --subresource=log", "patch distilldatasets --subresource=status"),
    )
    assert [action for action in denied if may(*action.split())] == []
    assert not may("list", "distilldatasets", namespace=elsewhere)
    assert not may("get", "secrets", namespace=elsewhere)
    assert not may("delete", "deployments", namespace=elsewhere)
    there = merged(dataset, {"metadata": {"namespace": elsewhere}})
    assert "forbidden" in creates(workspace, TENANT, there)
    host_path = workspace.dataset(podTemplate={"volumes": [{"name": "node", "hostPath": {"path": "/"}}]})
    assert 'unknown field "spec.podTemplate.volumes[0].hostPath"' in creates(workspace, TENANT, host_path)


def test_a_secret_without_the_label_is_given_to_no_stage(workspace: Workspace) -> None:
    make_secret(workspace, "private", {})
    workspace.apply(workspace.dataset(credentialsSecretRef={"name": "private"}))
    eventually(lambda: workspace.reason("distilldataset") == "ApplyFailed", "the Secret is refused")
    message = condition(workspace.get("distilldataset"), "Ready")["message"]
    assert f"{NOT_FOR_STAGES}. Whoever may change it can allow it: kubectl label secret private" in message
    assert workspace.jobs("generate") == []
    make_secret(workspace, "private", {"npu-distill.io/allow": "true"})
    eventually(lambda: workspace.jobs("generate"), "the stage is started once it is allowed")


def test_a_team_s_pods_have_no_account_of_the_operator(workspace: Workspace) -> None:
    workspace.apply(workspace.dataset(podTemplate={"serviceAccountName": workspace.installation.release}))
    eventually(lambda: workspace.reason("distilldataset") == "PodTemplateNotAllowed", "the account is refused")
    assert workspace.jobs("generate") == []
