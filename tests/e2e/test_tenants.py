"""What a team can reach with the edit role on our kinds, and what the operator's account is good for: each tried.

docs/security.md has the same as a table. Everything is asked of a real API server; most of it with `--dry-run=server`,
which goes through all admission.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.workspace import Manifest, Workspace
from tests.harness.kubectl import CommandError, condition, eventually

TENANT = "tenant"
ALLOWED = {"npu-distill.io/allow": "true"}


def refusals(workspace: Workspace, user: str, *manifests: Manifest) -> str:
    """Give what the API server has against the user's creating these, in one call; nothing, if it takes them all."""
    text = "\n---\n".join(map(json.dumps, manifests))
    return told(workspace, user, "create", "--dry-run=server", "-f", "-", stdin=text)


def told(workspace: Workspace, user: str, *arguments: str, stdin: str | None = None) -> str:
    try:
        workspace.kubectl("--as", user, *arguments, stdin=stdin)
    except CommandError as error:
        return str(error)
    return ""


def rights(workspace: Workspace, user: str, namespace: str) -> dict[str, set[str]]:
    """Give the verbs that a user has of each resource, besides asking about itself, by `kubectl auth can-i --list`."""
    lines = workspace.kubectl("--as", user, "auth", "can-i", "--list", "-n", namespace).splitlines()[1:]
    found = {line.split(" ", 1)[0]: set(line.rsplit("[", 1)[1].rstrip("]").split()) for line in lines}
    return {name: verbs for name, verbs in found.items() if name and not name.startswith("selfsubject")}


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


def make_secret(workspace: Workspace, name: str, labels: Mapping[str, str]) -> None:
    metadata = {"name": name, "namespace": workspace.namespace, "labels": dict(labels)}
    workspace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}})


def test_the_operator_s_account_has_its_own_jobs_and_services_and_no_others(workspace: Workspace) -> None:
    """Whoever gets hold of it has no more than this."""
    operator, right = operator_of(workspace), stage_job(workspace)
    make_secret(workspace, "private", {})
    make_secret(workspace, "shared", ALLOWED)
    private = merged(right, secret_volume(secret={"secretName": "private"}))
    eventually(lambda: NOT_FOR_STAGES in refusals(workspace, operator, private), "the API server knows of the Secret")

    refused = {name.lower().replace(" ", "-").replace("'", ""): case for name, case in REFUSED_JOBS.items()}
    jobs = [merged(right, merged(change, {"metadata": {"name": name}})) for name, (change, _) in refused.items()]
    said = refusals(workspace, operator, *jobs).splitlines()
    words = {name: next((line for line in said if f'"{name}" is forbidden' in line), "taken") for name in refused}
    assert {name: line for name, line in words.items() if refused[name][1] not in line} == {}

    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": right["metadata"],
        "spec": {"clusterIP": "None", "ports": [{"port": 8118}]},
    }
    shared = merged(right, merged(secret_volume(secret={"secretName": "shared"}), {"metadata": {"name": "shared"}}))
    assert refusals(workspace, operator, right, shared, service) == ""
    foreign = merged(service, {"metadata": {"name": "foreign", "labels": None}})
    exposed = merged(service, {"metadata": {"name": "exposed"}, "spec": {"clusterIP": None, "type": "NodePort"}})
    said_of_services = refusals(workspace, operator, foreign, exposed)
    assert "what the operator creates has the label" in said_of_services
    assert "the operator's Services are headless" in said_of_services

    somebody_s = {"metadata": {"name": "somebody-s", "labels": {"a": "b"}, "ownerReferences": None}}
    workspace.apply(merged(right, merged(somebody_s, {"spec": {"suspend": True}})))
    deleting = told(workspace, operator, "delete", "job", "somebody-s", "-n", workspace.namespace, "--dry-run=server")
    assert "the operator's Jobs have the label" in deleting

    namespaced = rights(workspace, operator, workspace.namespace)
    assert namespaced["jobs.batch"] == {"create", "delete", "get", "list", "watch"}
    assert namespaced["pods"] == {"list", "watch"}
    assert not {"secrets", "configmaps", "pods/log", "pods/exec", "nodes", "*.*"} & namespaced.keys()


# ---- a team ----


def test_a_team_with_the_edit_role_reaches_nothing_but_its_objects(workspace: Workspace) -> None:
    here, elsewhere = workspace.namespace, workspace.installation.namespace
    role = f"--clusterrole={workspace.installation.release}-edit"
    workspace.kubectl("create", "rolebinding", "tenant", role, f"--user={TENANT}", "-n", here)
    dataset = workspace.dataset()
    eventually(lambda: refusals(workspace, TENANT, dataset) == "", "the role is bound")
    kinds = {f"{plural}.npu-distill.io" for plural in ("distilldatasets", "finetuneruns", "evalruns")}
    assert rights(workspace, TENANT, here).keys() == kinds
    assert rights(workspace, TENANT, elsewhere) == {}
    there = merged(dataset, {"metadata": {"namespace": elsewhere}})
    host_path = workspace.dataset(podTemplate={"volumes": [{"name": "node", "hostPath": {"path": "/"}}]})
    said = refusals(workspace, TENANT, there, host_path)
    assert (
        f'cannot create resource "distilldatasets" in API group "npu-distill.io" in the namespace "{elsewhere}"' in said
    )
    assert 'unknown field "spec.podTemplate.volumes[0].hostPath"' in said


def test_a_secret_without_the_label_is_given_to_no_stage(workspace: Workspace) -> None:
    make_secret(workspace, "private", {})
    workspace.apply(workspace.dataset(credentialsSecretRef={"name": "private"}))
    eventually(lambda: workspace.reason("distilldataset") == "ApplyFailed", "the Secret is refused")
    message = condition(workspace.get("distilldataset"), "Ready")["message"]
    assert f"{NOT_FOR_STAGES}. Whoever may change it can allow it: kubectl label secret private" in message
    assert workspace.jobs("generate") == []
    make_secret(workspace, "private", ALLOWED)
    eventually(lambda: workspace.jobs("generate"), "the stage is started once it is allowed")
