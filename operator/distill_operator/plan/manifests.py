"""The children of one attempt of a stage: a Job, with its contract in it, and a Service where Pods must meet."""

import json
from collections.abc import Sequence
from typing import Any

from distill_operator.observation import (
    ATTEMPT_LABEL,
    CONTAINER,
    CONTRACT_ANNOTATION,
    DISRUPTION,
    KIND_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    NAME_LABEL,
    SERVER_CONTAINER,
    STAGE_LABEL,
    UID_LABEL,
    ResourceKey,
)
from distill_operator.plan.certificates import add_ca_bundle
from distill_operator.plan.pod_templates import add_pod_template, pod_settings
from distill_operator.plan.serving import (
    OUTPUT_MOUNT,
    RESTRICTED,
    TERMINATION_PATH,
    VOLUMES,
    server_container,
    server_settings,
)
from distill_operator.plan.stages import Outline, Sidecar, Stage, Teamwork, job_name
from distill_operator.settings import PodSettings, Settings, VariableSource
from distill_runtime.contract import (
    EXIT_WRONG_INPUT,
    PROGRESS_PORT,
    Contract,
    EvalContract,
    FilterContract,
    GenerateContract,
    PackContract,
    PackedSource,
    Rendezvous,
    TrainContract,
)
from distill_runtime.contract.stages import CONTRACT_PATH, NODE_VARIABLE, RENDEZVOUS_PORT, VOLUME_PATH

Manifest = dict[str, Any]

CONTRACT_FILE = {
    "path": CONTRACT_PATH.rsplit("/", 1)[1],
    "fieldRef": {"fieldPath": f"metadata.annotations['{CONTRACT_ANNOTATION}']"},
}
DEAD_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
DEAD_NODE_SECONDS = 30
"""After the node controller has called a node not ready, which it does when the kubelet was silent for 40 to 50 s."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
"""Everything that the other stages read is on the claim: nothing may try a hub and wait for its time-out."""


def attempt_manifests(
    key: ResourceKey, uid: str, stage: Stage, attempt: int, avoid: Sequence[str], settings: Settings
) -> list[Manifest]:
    """Give the children of attempt `attempt`, in the order in which they must be created.

    `avoid` are nodes on which its Pods should rather not run.
    """
    name = job_name(key.name, stage.outline.name, attempt)
    metadata = _metadata(key, uid, stage, name, attempt)
    job = _job(metadata, stage, name, _contract_of_attempt(stage, name, attempt), settings)
    _apply(job, stage, settings)
    pod = job["spec"]["template"]["spec"]
    add_ca_bundle(pod, settings.ca_bundle)
    add_pod_template(job["spec"]["template"], stage)
    if avoid:
        pod["affinity"] = _rather_elsewhere(pod.get("affinity", {}), avoid)
    if stage.outline.fenced:
        pod["tolerations"] = _leaving_a_dead_node(pod.get("tolerations", []))
    return [_headless_service(metadata, name), job] if _must_meet(stage) else [job]


def _must_meet(stage: Stage) -> bool:
    return stage.outline.teamwork is Teamwork.TOGETHER and stage.outline.pods > 1


def _metadata(key: ResourceKey, uid: str, stage: Stage, name: str, attempt: int) -> Manifest:
    return {
        "name": name,
        "namespace": key.namespace,
        "labels": {
            **stage.labels,
            "app.kubernetes.io/name": "npu-distill-stage",
            MANAGED_BY_LABEL: MANAGER,
            KIND_LABEL: key.kind,
            NAME_LABEL: key.name,
            UID_LABEL: uid,
            STAGE_LABEL: stage.outline.name,
            ATTEMPT_LABEL: str(attempt),
        },
        "ownerReferences": [
            {
                "apiVersion": "npu-distill.io/v1alpha1",
                "kind": key.kind,
                "name": key.name,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _contract_of_attempt(stage: Stage, name: str, attempt: int) -> Contract:
    update: dict[str, Any] = {"attempt": attempt}
    if isinstance(stage.contract, TrainContract) and _must_meet(stage):
        update["rendezvous"] = Rendezvous(host=f"{name}-0.{name}")
    return stage.contract.model_copy(update=update)


def _headless_service(metadata: Manifest, name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # the Pods must find each other before any of them is ready
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def _job(metadata: Manifest, stage: Stage, name: str, contract: Contract, settings: Settings) -> Manifest:
    outline = stage.outline
    rules: list[Manifest] = [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_WRONG_INPUT]},
        }
    ]
    # A drained or preempted Pod is nobody's mistake. Where it is not replaced, the Job's message tells of it for good.
    action = "Ignore" if outline.backoff_limit else "FailJob"
    rules.append({"action": action, "onPodConditions": [{"type": DISRUPTION, "status": "True"}]})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": outline.pods,
            "parallelism": outline.pods,
            "completionMode": "Indexed",
            **_retries(outline),
            "ttlSecondsAfterFinished": settings.jobs.ttl_seconds_after_finished,
            "podReplacementPolicy": "Failed",  # never two Pods of one index: they would write the same files
            "podFailurePolicy": {"rules": rules},
            "template": {
                "metadata": {
                    "labels": metadata["labels"],
                    "annotations": {CONTRACT_ANNOTATION: json.dumps(contract.to_json(), ensure_ascii=False)},
                },
                "spec": _pod(stage, name, settings),
            },
        },
    }


def _retries(outline: Outline) -> Manifest:
    """Give how often Pods may fail before their Job does.

    Counted by index: an outage that ends all shards at once is one failure of each. The first index that is given up
    ends the Job, since there is no result without it: a person hears of it at once, and what the others have done is
    on the claim, from which the next Job goes on.
    """
    if not outline.backoff_limit:
        return {"backoffLimit": 0}
    return {"backoffLimitPerIndex": outline.backoff_limit, "maxFailedIndexes": 0}


def _pod(stage: Stage, name: str, settings: Settings) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": settings.stage_pod_security_context,
        "containers": [_container(stage, settings)],
        "volumes": [
            {"name": "contract", "downwardAPI": {"items": [CONTRACT_FILE]}},
            {"name": "volume", "persistentVolumeClaim": {"claimName": stage.run.storage.claim_name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if settings.images.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in settings.images.pull_secrets]
    if stage.run.priority_class_name:
        pod["priorityClassName"] = stage.run.priority_class_name
    if isinstance(stage.contract, TrainContract) and stage.profile is not None:
        pod["terminationGracePeriodSeconds"] = stage.contract.grace_seconds
    if _must_meet(stage):
        pod |= {"subdomain": name, "topologySpreadConstraints": [_one_pod_a_node(name, stage.outline.pods)]}
    if stage.sidecar is not None:
        pod["initContainers"] = [_server(stage, stage.sidecar, settings)]
        pod["containers"][0]["volumeMounts"].append(OUTPUT_MOUNT)
        pod["volumes"] += VOLUMES
    return pod


def _server(stage: Stage, beside: Sidecar, settings: Settings) -> Manifest:
    # What it serves is on the claim: nothing may try a hub and wait for its time-out.
    variables = OFFLINE | (dict(stage.profile.env) if stage.profile is not None else {}) | beside.server.env
    environment = [_variable(name, value) for name, value in variables.items()]
    images = settings.images
    return server_container(SERVER_CONTAINER, beside, images.runtime, images.pull_policy, environment)


def _one_pod_a_node(name: str, pods: int) -> Manifest:
    return {
        "maxSkew": 1,
        "minDomains": pods,  # with fewer nodes than Pods, no node may have two
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"batch.kubernetes.io/job-name": name}},
    }


def _rather_elsewhere(affinity: Manifest, nodes: Sequence[str]) -> Manifest:
    """Prefer all other nodes, besides what `affinity` asks for.

    Not more than that: where no other has room, a node that had a fault may do. A device that is broken for good is the
    device plugin's to take away, upon which the Pod does not fit there.
    """
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    other, preferred = affinity.get("nodeAffinity", {}), "preferredDuringSchedulingIgnoredDuringExecution"
    elsewhere = {"weight": 100, "preference": {"matchFields": fields}}
    return {**affinity, "nodeAffinity": {**other, preferred: [*other.get(preferred, []), elsewhere]}}


def _leaving_a_dead_node(configured: Sequence[Manifest]) -> list[Manifest]:
    """Give the tolerations with which Pods are told to end soon after their node is not heard of.

    The API server adds ones of 300 s for what is not tolerated yet (DefaultTolerationSeconds). What a profile tolerates
    for longer, or for ever, stays.
    """
    ours = [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEAD_NODE_SECONDS}
        for taint in DEAD_NODE_TAINTS
        if not any(_tolerates(toleration, taint) for toleration in configured)
    ]
    return [*configured, *ours]


def _tolerates(toleration: Manifest, taint: str) -> bool:
    return toleration.get("key") in (None, "", taint) and toleration.get("effect") in (None, "", "NoExecute")


def _reads_a_source(contract: Contract) -> bool:
    """Tell whether a stage has a source, or a benchmark, that may be on the hub."""
    if isinstance(contract, PackContract):
        return isinstance(contract.input, PackedSource)
    return isinstance(contract, GenerateContract | FilterContract | EvalContract)


def _container(stage: Stage, settings: Settings) -> Manifest:
    arguments = [
        stage.command,
        "--contract",
        CONTRACT_PATH,
        "--volume",
        VOLUME_PATH,
        "--result",
        TERMINATION_PATH,
        "--progress-port",
        str(PROGRESS_PORT),
    ]
    # Whatever is configured here or by the chart comes before what the Secret says.
    credentials = {"envFrom": [{"secretRef": {"name": stage.credentials}}]} if stage.credentials else {}
    return {
        "name": CONTAINER,
        "image": settings.images.runtime,
        "imagePullPolicy": settings.images.pull_policy,
        "args": [*arguments, "--check"] if stage.check_only else arguments,
        "workingDir": "/tmp",  # noqa: S108 - the emptyDir mounted there
        "env": _environment(stage, settings),
        **credentials,
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT}],
        "resources": {},
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": dict(RESTRICTED),
        "volumeMounts": [
            {"name": "contract", "mountPath": CONTRACT_PATH.rsplit("/", 1)[0], "readOnly": True},
            {"name": "volume", "mountPath": VOLUME_PATH},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _environment(stage: Stage, settings: Settings) -> list[Manifest]:
    """Give the variables: those of the command go to all of its Pods, also to those with devices."""
    variables: dict[str, str | VariableSource] = {
        **({} if _reads_a_source(stage.contract) else OFFLINE),
        **settings.stage(stage.command).env,
        **(stage.profile.env if stage.profile is not None and stage.sidecar is None else {}),
    }
    environment = [_variable(name, value) for name, value in variables.items()]
    if stage.outline.teamwork is Teamwork.TOGETHER:  # an attempt is remembered by its nodes
        environment.append({"name": NODE_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    for variable in stage.secrets:
        reference = {"name": variable.secret, "key": variable.key}
        environment.append({"name": variable.name, "valueFrom": {"secretKeyRef": reference}})
    return environment


def _variable(name: str, value: str | VariableSource) -> Manifest:
    if isinstance(value, VariableSource):
        return {"name": name, "valueFrom": dict(value.value_from)}
    return {"name": name, "value": value}


def _apply(job: Manifest, stage: Stage, settings: Settings) -> None:
    """Add to a Job that is being built all that is configured for it and its Pods, but the environment."""
    configured = pod_settings(stage, settings)
    job["metadata"] = _labelled(job["metadata"], configured.job_labels, configured.job_annotations)
    template = job["spec"]["template"]
    template["metadata"] = _labelled(template["metadata"], configured.pod_labels, configured.pod_annotations)
    pod = template["spec"]
    optional = {
        "nodeSelector": configured.node_selector,
        "tolerations": list(configured.tolerations),
        "schedulerName": configured.scheduler_name,
        "runtimeClassName": configured.runtime_class_name,
    }
    pod.update({field: value for field, value in optional.items() if value})
    if configured.host_network:
        # With the node's own resolver Pods of the same attempt would not find each other.
        pod |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    pod["securityContext"] = _merged(pod["securityContext"], configured.pod_security_context)
    (container,) = pod["containers"]
    devices = _devices(stage)
    if stage.sidecar is None:
        _equip(pod, container, configured, devices)
        return
    _equip(pod, pod["initContainers"][0], server_settings(configured, stage.sidecar.server), devices)
    _equip(pod, container, settings.stage(stage.command), {})


def _equip(pod: Manifest, container: Manifest, configured: PodSettings, devices: dict[str, str]) -> None:
    """Add to a container, and to its Pod's volumes, what is configured for it."""
    container["image"] = configured.image or container["image"]
    container["resources"] = _resources(configured, devices)
    container["securityContext"] = _security_context(container["securityContext"], configured)
    pod["volumes"] += [volume for volume in configured.volumes if volume not in pod["volumes"]]
    container["volumeMounts"] += list(configured.volume_mounts)
    if configured.shared_memory:
        name = "shared-memory" if container["name"] == CONTAINER else f"{container['name']}-shared-memory"
        shared_memory = {"medium": "Memory", "sizeLimit": configured.shared_memory}
        pod["volumes"].append({"name": name, "emptyDir": shared_memory})
        container["volumeMounts"].append({"name": name, "mountPath": "/dev/shm"})  # noqa: S108


def _labelled(metadata: Manifest, labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    """Add labels and annotations; those by which a child is found, and told what to do, cannot be replaced."""
    found = {**metadata, "labels": {**metadata["labels"], **labels, **metadata["labels"]}}
    annotated = {**annotations, **metadata.get("annotations", {})}
    return {**found, "annotations": annotated} if annotated else found


def _devices(stage: Stage) -> dict[str, str]:
    if stage.profile is None or not stage.profile.resource or not stage.devices:
        return {}
    return {stage.profile.resource: str(stage.devices)}


def _resources(configured: PodSettings, devices: dict[str, str]) -> Manifest:
    both = (("requests", configured.resources.requests), ("limits", configured.resources.limits))
    return {name: {**values, **devices} for name, values in both if values or devices}


def _security_context(default: Manifest, configured: PodSettings) -> Manifest:
    """Give the container's security context. The API server takes no privileged one that is denied more privileges."""
    context = _merged(default, configured.container_security_context)
    if context.get("privileged"):
        context.pop("allowPrivilegeEscalation", None)
    return context


def _merged(default: Manifest, change: Manifest) -> Manifest:
    """Give `default` with the fields of `change` instead of its own, and without those that are null there."""
    return {field: value for field, value in {**default, **change}.items() if value is not None}
