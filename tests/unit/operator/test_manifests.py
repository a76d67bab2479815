"""The children of each stage, compared with golden files that are read in review."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.operator.builders import CHART_VALUES, SETTINGS, UID, as_found, key, known, ready, resource, succeeded_stage

from distill_operator.api import StageStatus
from distill_operator.api.common import NAME_LIMIT
from distill_operator.observation import CONTRACT_ANNOTATION
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.manifests import attempt_manifests
from distill_operator.plan.stages import Stage, job_name, key_of
from distill_operator.settings import Settings
from distill_runtime.contract import Contract, EvalContract, identity, parse_contract
from distill_runtime.contract.stages import CONTRACT_OF, WeightsTarget

Manifest = dict[str, Any]
Golden = Callable[[str, list[Manifest]], None]

EVERYTHING = {
    "deviceTarget": "Ascend",
    "resource": "huawei.com/Ascend910",
    "devicesPerNode": 8,
    "allowedDevices": [1, 2, 4, 8],
    "deviceMemory": "64Gi",
    "peakTeraflops": 353.8944,
    "image": "registry.example/runtime-ascend:1",
    "nodeSelector": {"accelerator": "huawei-Ascend910"},
    "tolerations": [{"key": "npu", "operator": "Exists"}],
    "env": {
        "HCCL_CONNECT_TIMEOUT": "1200",
        "HCCL_IF_IP": {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    },
    "podLabels": {"ring-controller.atlas": "ascend-910b"},
    "podAnnotations": {"sp-block": "16"},
    "jobLabels": {"kueue.x-k8s.io/queue-name": "team-a"},
    "jobAnnotations": {"acme.example/cost-center": "7"},
    "schedulerName": "volcano",
    "runtimeClassName": "ascend",
    "hostNetwork": True,
    "sharedMemory": "64Gi",
    "volumes": [{"name": "driver", "hostPath": {"path": "/usr/local/Ascend/driver"}}],
    "volumeMounts": [{"name": "driver", "mountPath": "/usr/local/Ascend/driver", "readOnly": True}],
    "resources": {"requests": {"cpu": 16, "memory": "128Gi"}, "limits": {"memory": "256Gi"}},
    "podSecurityContext": {"supplementalGroups": [1000]},
    "containerSecurityContext": {"privileged": True},
}
DEVICE_FIELDS = {"deviceTarget", "resource", "devicesPerNode", "allowedDevices", "deviceMemory", "peakTeraflops"}
STAGE_FIELDS = EVERYTHING.keys() - DEVICE_FIELDS
FULL_SETTINGS = Settings.model_validate(
    {
        "images": {"runtime": "registry.example/runtime:1", "pullPolicy": "Always", "pullSecrets": ["registry"]},
        "stagePodSecurityContext": SETTINGS.stage_pod_security_context,
        "stages": {"msrun": {"resources": {"requests": {"cpu": "250m"}}, "env": {"HTTPS_PROXY": "http://proxy"}}},
        "servers": CHART_VALUES["servers"],
        "profiles": {"ascend-910b": EVERYTHING},
    }
)
SHIPPED = Settings.model_validate(
    {
        "images": {"runtime": "registry.example/runtime:1"},
        **{name: CHART_VALUES[name] for name in ("stagePodSecurityContext", "stages", "servers", "profiles")},
    }
)
"""What the chart ships."""
RECIPE = Path(__file__).parents[3] / "examples" / "openr1-qwen-7b"
ENDPOINT = {"endpoint": {"url": "http://served/v1", "model": "qwen"}}


def planned(kind: str, stage: str, spec: dict[str, Any] | None = None, settings: Settings = SETTINGS) -> Stage:
    plan = KIND_PLANS[kind]
    finished = {name: succeeded_stage(name) for name in ("generate", "filter", "eval", "probe-verify")}
    built = plan.plan_stage(resource(kind, spec), stage, finished, known(kind), settings)
    assert isinstance(built, Stage), built
    return built


def manifests(
    kind: str, stage: str, spec: dict[str, Any] | None = None, settings: Settings = SETTINGS
) -> list[Manifest]:
    return attempt_manifests(key(kind), UID, planned(kind, stage, spec, settings), 1, (), settings)


def test_512_nodes_are_as_many_objects_as_two() -> None:
    """A plan of 4,096 devices is no larger, for the API server and for whoever makes it."""

    def planned_on(nodes: int) -> list[Manifest]:
        accelerator = {"profile": "ascend-910b", "nodes": nodes, "devicesPerNode": 8}
        return manifests("FinetuneRun", "train", {"accelerator": accelerator}, SHIPPED)

    two, many = planned_on(2), planned_on(512)
    assert [child["kind"] for child in many] == [child["kind"] for child in two]
    job = many[-1]["spec"]
    assert (job["completions"], job["parallelism"]) == (512, 512)
    digits = 4 * len("12")  # of completions, parallelism, minDomains, and of nodes in the contract
    assert len(json.dumps(many)) - len(json.dumps(two)) == digits


def test_every_pod_of_the_recipe_from_its_data_to_its_score(equals_golden: Golden) -> None:
    """Three objects with what the chart ships, each planned as if what it waits for were there."""
    children: list[Manifest] = []
    for name in ("dataset", "finetune", "eval"):
        run = as_found(yaml.safe_load((RECIPE / f"{name}.yaml").read_text()))
        plan = KIND_PLANS[type(run).__name__]
        known = {needed: ready(needed.kind, metadata={"name": needed.name}) for needed in plan.dependencies(run)}
        finished: dict[str, StageStatus] = {}
        for stage_name in plan.stage_names(run, SHIPPED):
            stage = plan.plan_stage(run, stage_name, finished, known, SHIPPED)
            assert isinstance(stage, Stage), stage
            children += attempt_manifests(key_of(run), UID, stage, 1, (), SHIPPED)
            finished[stage_name] = succeeded_stage(stage_name)
    equals_golden("openr1-qwen-7b", children)


TEACHER = {"endpoints": ["http://teacher/v1"], "model": "deepseek-r1"}
JUDGE = {"url": "http://judge/v1", "model": "qwen2.5-72b"}
PROBED: dict[str, Any] = {
    "teacher": {**TEACHER, "promptTemplate": "Solve: {prompt}", "apiKeySecretRef": {"name": "teacher", "key": "token"}},
    "filter": {"verifier": "numeric", "minAcceptanceRate": 0.3, "judge": {"endpoint": JUDGE}},
    "select": {
        "maxPassRate": 0.75,
        "probe": {
            "endpoint": {"url": "http://qwen/v1", "model": "qwen2.5-7b", "apiKeySecretRef": {"name": "q", "key": "k"}},
            "sampling": {"generationsPerPrompt": 4, "maxTokens": 4096},
        },
    },
}
CREDENTIALS = {"credentialsSecretRef": {"name": "hub"}}
TWO_NODES = {"accelerator": {"profile": "cpu", "nodes": 2}}
NPUS = {"accelerator": {"profile": "ascend-910b", "nodes": 2, "devicesPerNode": 8}}
PACKED: dict[str, Any] = {"source": {"packed": {"uri": "hf://acme/packed"}}, "teacher": None, "pack": None}
CASES: dict[str, tuple[str, str, dict[str, Any] | None, Settings]] = {
    "generate-with-secret": (
        "DistillDataset",
        "generate",
        {"teacher": {**TEACHER, "apiKeySecretRef": {"name": "teacher", "key": "token"}}, **CREDENTIALS},
        SETTINGS,
    ),
    "generate-by-two-teachers": (
        "DistillDataset",
        "generate",
        {
            "teacher": {
                **TEACHER,
                "additionalModels": [
                    {"model": "qwq", "endpoints": ["http://qwq/v1"], "apiKeySecretRef": {"name": "qwq", "key": "token"}}
                ],
            }
        },
        SETTINGS,
    ),
    "generate-in-shards": (
        "DistillDataset",
        "generate",
        {"teacher": {**TEACHER, "shards": 4}, "priorityClassName": "batch"},
        SETTINGS,
    ),
    "generate-by-its-own-teacher": (
        "DistillDataset",
        "generate",
        {
            "teacher": {
                "serve": {
                    "server": "vllm-ascend",
                    "uri": "models/qwq-32b",
                    "accelerator": {"profile": "ascend-910b", "devicesPerNode": 8},
                },
                "model": "qwq-32b",
                "shards": 2,
            }
        },
        SHIPPED,
    ),
    "filter": ("DistillDataset", "filter", CREDENTIALS, SETTINGS),
    "filter-with-a-judge": (
        "DistillDataset",
        "filter",
        {"filter": {"judge": {"endpoint": {**JUDGE, "apiKeySecretRef": {"name": "judge", "key": "token"}}}}},
        SETTINGS,
    ),
    "select": ("DistillDataset", "select", {"select": {"maxPassRate": 0.9, "limit": 1000}, **CREDENTIALS}, SETTINGS),
    "probe": ("DistillDataset", "probe", PROBED, SETTINGS),
    "probe-verify": ("DistillDataset", "probe-verify", PROBED, SETTINGS),
    "select-by-a-probe": ("DistillDataset", "select", PROBED, SETTINGS),
    "pack": ("DistillDataset", "pack", CREDENTIALS, SETTINGS),
    "register": ("DistillDataset", "pack", {**PACKED, **CREDENTIALS}, SETTINGS),
    "train-in-one-pod": ("FinetuneRun", "train", None, SETTINGS),
    "train-in-two-pods": ("FinetuneRun", "train", TWO_NODES, SETTINGS),
    "train-preflight": ("FinetuneRun", "train-preflight", NPUS, FULL_SETTINGS),
    "train-on-npus": ("FinetuneRun", "train", NPUS, FULL_SETTINGS),
    "export": ("FinetuneRun", "export", NPUS, SHIPPED),
    "train-on-ascend-910b": ("FinetuneRun", "train", NPUS, SHIPPED),
    "train-on-ascend-a3": (
        "FinetuneRun",
        "train",
        {"accelerator": {"profile": "ascend-a3", "nodes": 2, "devicesPerNode": 16}},
        SHIPPED,
    ),
    "eval-on-ascend-910b": ("EvalRun", "eval", {"accelerator": {"profile": "ascend-910b"}}, SHIPPED),
    "eval-by-vllm-ascend": (
        "EvalRun",
        "eval",
        {
            "accelerator": {"profile": "ascend-910b", "devicesPerNode": 4},
            "serve": {"server": "vllm-ascend", "args": ["--gpu-memory-utilization=0.8"]},
        },
        SHIPPED,
    ),
    "eval-by-mindie": (
        "EvalRun",
        "eval",
        {"accelerator": {"profile": "ascend-910b", "devicesPerNode": 8}, "serve": {"server": "mindie"}},
        SHIPPED,
    ),
    "eval-on-npus": (
        "EvalRun",
        "eval",
        {"accelerator": {"profile": "ascend-910b", "devicesPerNode": 8}, "serve": {"server": "mindie"}, **CREDENTIALS},
        FULL_SETTINGS,
    ),
    "eval-preflight": ("EvalRun", "eval-preflight", {"accelerator": {"profile": "ascend-910b"}}, FULL_SETTINGS),
    "eval-of-weights": ("EvalRun", "eval", None, SETTINGS),
    "compare": ("EvalRun", "compare", {"compareWith": [{"name": "paper", "score": 91.6, "problems": 500}]}, SHIPPED),
    "eval-of-an-endpoint": ("EvalRun", "eval", {"target": ENDPOINT, "accelerator": None, **CREDENTIALS}, SETTINGS),
    "eval-with-a-judge": (
        "EvalRun",
        "eval",
        {
            "target": {"endpoint": {**ENDPOINT["endpoint"], "apiKeySecretRef": {"name": "served", "key": "token"}}},
            "accelerator": None,
            "protocol": {"judge": {"endpoint": {**JUDGE, "apiKeySecretRef": {"name": "judge", "key": "token"}}}},
        },
        SETTINGS,
    ),
    "eval-of-an-endpoint-that-belongs-to-a-run": (
        "EvalRun",
        "eval",
        {
            "target": {
                "endpoint": {
                    **ENDPOINT["endpoint"],
                    "apiKeySecretRef": {"name": "served", "key": "token"},
                    "waitFor": {"finetuneRef": {"name": "student"}},
                }
            },
            "accelerator": None,
        },
        SETTINGS,
    ),
}
RESTRICTED = sorted(CASES.keys() - {"train-on-npus", "eval-on-npus"})


def case(name: str) -> list[Manifest]:
    return manifests(*CASES[name])


def job_of(name: str) -> Manifest:
    return next(manifest for manifest in case(name) if manifest["kind"] == "Job")


def contract_in(job: Manifest) -> Contract:
    return parse_contract(job["spec"]["template"]["metadata"]["annotations"][CONTRACT_ANNOTATION])


def pod_of(name: str) -> Manifest:
    pod: Manifest = job_of(name)["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", CASES)
def test_equals_its_golden_file(name: str, equals_golden: Golden) -> None:
    equals_golden(name, case(name))


@pytest.mark.parametrize("name", CASES)
def test_only_stages_that_read_sources_see_credentials_and_the_hub(name: str) -> None:
    (container,) = pod_of(name)["containers"]
    _, stage, spec, _ = CASES[name]
    reads = name == "register" or stage in ("generate", "filter", "probe", "probe-verify", "eval", "eval-preflight")
    assert ("envFrom" in container) == (reads and "credentialsSecretRef" in (spec or {}))
    assert ("HF_HUB_OFFLINE" in {variable["name"] for variable in container["env"]}) is not reads


@pytest.mark.parametrize("name", RESTRICTED)
def test_pods_of_shipped_profiles_satisfy_pod_security_restricted(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, control by control."""
    pod = pod_of(name)
    context, containers = pod["securityContext"], pod["containers"] + pod.get("initContainers", [])
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] != 0
    assert context["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "secret",
        "projected",
        "downwardAPI",
        "csi",
        "ephemeral",
    }
    assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
    for container in containers:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not own.get("privileged")
        assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({}, {"runAsUser": 2000, "fsGroup": 2000}),
        (
            {"podSecurityContext": {"supplementalGroups": [7]}},
            {"runAsUser": 2000, "fsGroup": 2000, "supplementalGroups": [7]},
        ),
        ({"podSecurityContext": {"runAsUser": 0, "fsGroup": None}}, {"runAsUser": 0}),
    ],
    ids=["the chart's", "added", "replaced-and-removed"],
)
def test_a_profile_s_security_context_is_merged_over_that_of_all_stages(
    profile: dict[str, Any], expected: dict[str, Any]
) -> None:
    settings = Settings.model_validate(
        {
            "images": {"runtime": "r"},
            "stagePodSecurityContext": {"runAsUser": 2000, "fsGroup": 2000},
            "profiles": {"cpu": {"deviceTarget": "CPU", **profile}},
        }
    )
    (job,) = (item for item in manifests("FinetuneRun", "train", settings=settings) if item["kind"] == "Job")
    assert job["spec"]["template"]["spec"]["securityContext"] == expected


def test_pods_with_devices_go_where_their_profile_says_and_others_where_their_stage_says() -> None:
    elsewhere = {"nodeSelector": {"kubernetes.io/arch": "arm64"}, "tolerations": [{"operator": "Exists"}]}
    settings = Settings.model_validate(
        {
            "images": {"runtime": "r"},
            "stagePodSecurityContext": {},
            "stages": {"msrun": elsewhere},
            "profiles": {"ascend-910b": EVERYTHING},
        }
    )

    def place(stage: str) -> Manifest:
        (job,) = (item for item in manifests("FinetuneRun", stage, NPUS, settings) if item["kind"] == "Job")
        pod = job["spec"]["template"]["spec"]
        of_the_profile = [toleration for toleration in pod["tolerations"] if toleration.get("tolerationSeconds") != 30]
        return {"nodeSelector": pod["nodeSelector"], "tolerations": of_the_profile}

    assert place("train-preflight") == elsewhere
    assert place("train") == {field: EVERYTHING[field] for field in ("nodeSelector", "tolerations")}


def test_stages_without_devices_have_what_profiles_have() -> None:
    configured = {name: value for name, value in EVERYTHING.items() if name in STAGE_FIELDS}
    settings = Settings.model_validate(
        {
            "images": {"runtime": "r"},
            "stagePodSecurityContext": {},
            "stages": {"msrun": configured},
            "profiles": {"ascend-910b": EVERYTHING},
        }
    )

    def shape(stage: str) -> Manifest:
        """The Job without what the stage and its devices decide."""
        (job,) = (item for item in manifests("FinetuneRun", stage, NPUS, settings) if item["kind"] == "Job")
        metadata, pod = job["metadata"], job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        labels = {name: value for name, value in metadata["labels"].items() if not name.startswith("npu-distill.io/")}
        mounts = [mount["name"] for mount in container["volumeMounts"]]
        fields = (
            "nodeSelector",
            "tolerations",
            "schedulerName",
            "runtimeClassName",
            "hostNetwork",
            "dnsPolicy",
            "securityContext",
        )
        return {
            "labels": labels,
            "annotations": metadata["annotations"],
            "pod": {field: pod[field] for field in fields},
            "image": container["image"],
            "securityContext": container["securityContext"],
            "mounts": mounts,
        }

    train = shape("train")
    del train["pod"]["tolerations"][1:]  # with which training alone leaves a dead node
    assert shape("train-preflight") == train


def test_labels_by_which_children_are_found_cannot_be_replaced() -> None:
    mine = {"npu-distill.io/uid": "mine", "mine": "yes"}
    cpu = {"deviceTarget": "CPU", "jobLabels": mine, "podLabels": mine}
    settings = Settings.model_validate(
        {"images": {"runtime": "r"}, "stagePodSecurityContext": {}, "profiles": {"cpu": cpu}}
    )
    (job,) = (item for item in manifests("FinetuneRun", "train", settings=settings) if item["kind"] == "Job")
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert (metadata["labels"]["npu-distill.io/uid"], metadata["labels"]["mine"]) == (UID, "yes")


def test_only_the_job_has_the_labels_of_jobs() -> None:
    service, job = case("train-on-npus")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "kueue.x-k8s.io/queue-name" not in service["metadata"]["labels"]
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_a_privileged_container_is_not_denied_privileges() -> None:
    """The API server takes no `allowPrivilegeEscalation: false` beside `privileged: true`."""
    (container,) = pod_of("train-on-npus")["containers"]
    assert container["securityContext"]["privileged"] is True
    assert "allowPrivilegeEscalation" not in container["securityContext"]


@pytest.mark.parametrize("name", CASES)
def test_jobs_go_by_themselves(name: str) -> None:
    assert job_of(name)["spec"]["ttlSecondsAfterFinished"] == 86_400


@pytest.mark.parametrize("name", CASES)
def test_pods_hold_no_kubernetes_credentials(name: str) -> None:
    assert pod_of(name)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", CASES)
def test_root_file_system_is_read_only(name: str) -> None:
    pod = pod_of(name)
    for container in pod["containers"] + pod.get("initContainers", []):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("eval") and "endpoint" not in name])
def test_devices_are_the_server_s_alone_and_credentials_the_stage_s(name: str) -> None:
    pod = pod_of(name)
    (container,) = pod["containers"]
    assert "huawei.com/Ascend910" not in container["resources"].get("limits", {})
    for server in pod.get("initContainers", []):
        assert "envFrom" not in server
        assert [mount for mount in server["volumeMounts"] if mount["name"] == "volume"] == [
            {"name": "volume", "mountPath": "/data", "readOnly": True}
        ]


def test_a_server_is_told_by_name_words_image_and_command_and_ours_by_nothing() -> None:
    def target(settings: Settings, **spec: Any) -> WeightsTarget:
        contract = planned("EvalRun", "eval", spec, settings).contract
        assert isinstance(contract, EvalContract)
        assert isinstance(contract.target, WeightsTarget)
        return contract.target

    def with_other(**changes: Any) -> Settings:
        other = SETTINGS.servers["other"].model_copy(update=changes)
        return SETTINGS.model_copy(update={"servers": {**SETTINGS.servers, "other": other}})

    ours = target(SETTINGS)
    assert (identity(ours).get("server"), ours.server.definition) == (None, "")
    other = {"serve": {"server": "other", "args": ["--more"]}}
    assert identity(target(SETTINGS, **other))["server"] == {"name": "other", "args": ["--more"]}
    changes: list[dict[str, Any]] = [
        {},
        {"image": "other:2"},
        {"image": ""},
        {"command": ("run",)},
        {"env": {"A": "1"}},
    ]
    assert len({target(with_other(**change), **other).server.definition for change in changes}) == len(changes)


@pytest.mark.parametrize(("positions", "length"), [(None, "36864"), (32768.0, "32768"), (131072.0, "36864")])
def test_a_server_s_longest_sequence_is_what_is_asked_and_what_the_model_has(
    positions: float | None, length: str
) -> None:
    found = {"positions": positions} if positions is not None else {}
    stage = KIND_PLANS["EvalRun"].plan_stage(
        resource("EvalRun", {"serve": {"server": "other", "args": ["--more={x}"]}}),
        "eval",
        {"eval-preflight": succeeded_stage("eval-preflight", metrics=found)},
        known("EvalRun"),
        SETTINGS,
    )
    assert isinstance(stage, Stage)
    assert stage.sidecar is not None
    assert stage.sidecar.command == ("serve", "/data/npu-distill/FinetuneRun", f"--length={length}", "--more={x}")


@pytest.mark.parametrize("name", CASES)
def test_every_child_is_found_by_its_labels_and_goes_with_its_owner(name: str) -> None:
    for manifest in case(name):
        metadata = manifest["metadata"]
        assert metadata["labels"]["npu-distill.io/uid"] == UID
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == [UID]
        assert metadata["name"] == job_of(name)["metadata"]["name"]


@pytest.mark.parametrize("name", CASES)
def test_the_job_comes_last_since_its_pods_need_the_others(name: str) -> None:
    assert [manifest["kind"] for manifest in case(name)][-1] == "Job"


@pytest.mark.parametrize("name", CASES)
def test_pods_are_replaced_by_their_own_failures_and_those_that_train_together_never(name: str) -> None:
    spec = job_of(name)["spec"]
    limits = {
        field: spec[field] for field in ("backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes") if field in spec
    }
    together = name.startswith("train-") and name != "train-preflight"
    assert limits == ({"backoffLimit": 0} if together else {"backoffLimitPerIndex": 6, "maxFailedIndexes": 0})


@pytest.mark.parametrize("name", CASES)
def test_the_runtime_reads_the_contract_that_is_mounted(name: str) -> None:
    contract = contract_in(job_of(name))
    volume = next(volume for volume in pod_of(name)["volumes"] if volume["name"] == "contract")
    assert (
        volume["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == f"metadata.annotations['{CONTRACT_ANNOTATION}']"
    )
    command, *arguments = pod_of(name)["containers"][0]["args"]
    assert contract.stage == CONTRACT_OF.get(command, command)
    assert ("--check" in arguments) == (name.endswith("-preflight"))


def test_a_secret_is_only_referred_to() -> None:
    environment = pod_of("generate-with-secret")["containers"][0]["env"]
    assert [item for item in environment if "valueFrom" in item] == [
        {"name": "DISTILL_API_KEY", "valueFrom": {"secretKeyRef": {"name": "teacher", "key": "token"}}}
    ]


def test_only_pods_that_must_meet_have_a_service() -> None:
    with_service = {name for name in CASES if any(manifest["kind"] == "Service" for manifest in case(name))}
    assert with_service == {"train-in-two-pods", "train-on-npus", "train-on-ascend-910b", "train-on-ascend-a3"}


def test_preflight_and_export_hold_no_devices_and_read_the_same_contract() -> None:
    train = contract_in(job_of("train-on-npus"))
    for name in ("train-preflight", "export"):
        resources = pod_of(name)["containers"][0]["resources"]
        assert "huawei.com/Ascend910" not in resources.get("requests", {})
        assert contract_in(job_of(name)) == train.model_copy(update={"rendezvous": None})


def test_each_attempt_has_its_own_name_and_meeting_place() -> None:
    stage = planned("FinetuneRun", "train", TWO_NODES)
    _, job = attempt_manifests(key("FinetuneRun"), UID, stage, 2, (), SETTINGS)
    contract = contract_in(job)
    assert job["metadata"]["name"] == job_name("student", "train", 2) == "student-train-a2"
    assert contract.attempt == 2
    assert contract.rendezvous is not None  # type: ignore[union-attr]
    assert contract.rendezvous.host == "student-train-a2-0.student-train-a2"  # type: ignore[union-attr]


LARGEST: dict[str, dict[str, Any]] = {
    "DistillDataset": {
        "teacher": {**TEACHER, "shards": 1000, "maxConcurrentRequests": 1000},
        "select": PROBED["select"],
    },
    "FinetuneRun": {
        "accelerator": {"profile": "ascend-910b", "nodes": 1024, "devicesPerNode": 8},
        "restarts": {"max": 100},
    },
    "EvalRun": {"accelerator": {"profile": "ascend-910b", "devicesPerNode": 8}},
}
"""Of each kind the spec with all stages, and with the most Pods and attempts that the API server takes."""
STAGES = [
    planned(kind, stage, spec)
    for kind, spec in LARGEST.items()
    for stage in KIND_PLANS[kind].stage_names(resource(kind, spec), SETTINGS)
]
HOST_NAME = 63
"""Characters of a DNS label: of a Pod's host name, and of the name that a Job gives a Pod without cutting it short."""


def test_objects_of_one_name_have_no_child_in_common() -> None:
    """Whatever their kinds; a child that two objects owned would be taken over and never be right."""
    assert len(STAGES) == 11
    assert len({job_name("math", stage.outline.name, 1) for stage in STAGES}) == len(STAGES)


def test_objects_of_different_names_have_no_child_in_common() -> None:
    """`a` with a stage `b-c` would meet `a-b` with a stage `c`."""
    names = {stage.outline.name for stage in STAGES}
    assert not [(name, other) for name in names for other in names if name.endswith(f"-{other}")]


def test_the_longest_allowed_name_is_the_longest_that_leaves_room_for_the_names_of_pods() -> None:
    """A Pod's name is <owner>-<stage>-a<attempt>-<index>-<5 random characters>. Of a tenth attempt it may be cut."""
    outlines = [stage.outline for stage in STAGES]
    names = [f"{job_name('n' * NAME_LIMIT, stage.name, 1)}-{stage.pods - 1}-zx9k2" for stage in outlines]
    assert max(map(len, names)) == HOST_NAME


def test_host_names_have_room_for_ten_thousand_attempts() -> None:
    """<job>-<index>, by which Pods that train together find each other."""
    outlines = [stage.outline for stage in STAGES]
    hosts = [f"{job_name('n' * NAME_LIMIT, stage.name, 9999)}-{stage.pods - 1}" for stage in outlines]
    assert max(map(len, hosts)) <= HOST_NAME


def attempt_pod(children: list[Manifest]) -> Manifest:
    found: Manifest = children[-1]["spec"]["template"]["spec"]
    return found


def test_a_node_that_had_a_fault_is_avoided_where_another_fits() -> None:
    stage = planned("FinetuneRun", "train", {}, SETTINGS)
    pod = attempt_pod(attempt_manifests(key("FinetuneRun"), UID, stage, 2, ("node-3", "node-7"), SETTINGS))
    (preferred,) = pod["affinity"]["nodeAffinity"].pop("preferredDuringSchedulingIgnoredDuringExecution")
    # A term matches where all of its fields do; the API server takes one value a field.
    assert preferred["preference"]["matchFields"] == [
        {"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in ("node-3", "node-7")
    ]
    assert pod["affinity"] == {"nodeAffinity": {}}


@pytest.mark.parametrize(
    ("configured", "added"),
    [
        ([], ["not-ready", "unreachable"]),
        ([{"key": "npu", "operator": "Exists"}], ["not-ready", "unreachable"]),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 900}], ["not-ready"]),
        ([{"operator": "Exists"}], []),
    ],
    ids=["none", "another", "longer", "all"],
)
def test_training_leaves_a_dead_node_unless_its_profile_says_when(configured: list[Manifest], added: list[str]) -> None:
    profiles = {**SETTINGS.profiles, "cpu": SETTINGS.profiles["cpu"].model_copy(update={"tolerations": configured})}
    settings = SETTINGS.model_copy(update={"profiles": profiles})
    stage = planned("FinetuneRun", "train", {}, settings)
    tolerations = attempt_pod(attempt_manifests(key("FinetuneRun"), UID, stage, 1, (), settings))["tolerations"]
    assert tolerations[: len(configured)] == configured
    ours = tolerations[len(configured) :]
    assert [toleration["key"].removeprefix("node.kubernetes.io/") for toleration in ours] == added
    assert all(toleration["tolerationSeconds"] == 30 for toleration in ours)
