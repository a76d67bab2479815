"""What an object says of its Pods: where it goes, what the chart does not allow, and what cannot be said at all."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from unit.operator.builders import (
    CHART_VALUES,
    NOW,
    SETTINGS,
    UID,
    body,
    job,
    key,
    known,
    observation,
    resource,
    succeeded_stage,
)

from distill_operator.api import KINDS
from distill_operator.api.crds import custom_resource_definition
from distill_operator.api.pod_template import PodTemplate
from distill_operator.observation import Observation
from distill_operator.plan.decision import decide
from distill_operator.plan.endpoints import endpoints_of, is_endpoint
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.manifests import attempt_manifests
from distill_operator.plan.pod_templates import NOT_ALLOWED, POD_VOLUMES, add_pod_template, refuse_pod_template
from distill_operator.plan.stages import Stage
from distill_operator.settings import Settings

Manifest = dict[str, Any]
Golden = Callable[[str, list[Manifest]], None]

EVERYTHING: dict[str, Any] = {
    "labels": {"team": "a", "sidecar.istio.io/inject": "false"},
    "annotations": {"acme.example/cost-center": "7"},
    "resources": [
        {"stage": "generate", "requests": {"memory": "2Gi"}, "limits": {"memory": "4Gi", "ephemeral-storage": 10}},
        {"stage": "server", "requests": {"cpu": 8}},
        {"stage": "eval", "limits": {"memory": "3Gi"}},
    ],
    "nodeSelector": {"pool": "team-a"},
    "tolerations": [{"key": "team", "value": "a", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}
            ]
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"noisy": "true"}}}
            ]
        },
    },
    "serviceAccountName": "distill",
    "env": [
        {"name": "SSL_CERT_FILE", "value": "/mnt/ca/ca.crt"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}},
    ],
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}, {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    "volumeMounts": [
        {"name": "ca", "mountPath": "/mnt/ca", "readOnly": True},
        {"name": "scratch", "mountPath": "/mnt/scratch"},
    ],
    "imagePullSecrets": [{"name": "team-registry"}],
}
ALLOWED = {field: ["*"] for field in EVERYTHING if field not in ("volumeMounts",)}
TEMPLATE = {"podTemplate": EVERYTHING}


def settings(**values: Any) -> Settings:
    """The tests' settings with some of the chart's values instead."""
    return Settings.model_validate({**SETTINGS.model_dump(by_alias=True), **values})


LAX = settings(podTemplate={"allowed": ALLOWED}, objectLabels=["cost-*"])


def planned(kind: str, stage: str, spec: dict[str, Any], configured: Settings) -> Stage:
    found = KIND_PLANS[kind].plan_stage(resource(kind, spec), stage, {}, known(kind), configured)
    assert isinstance(found, Stage), found
    return found


def test_all_of_it_reaches_the_pods(equals_golden: Golden) -> None:
    stage = planned("DistillDataset", "generate", TEMPLATE, LAX)
    assert refuse_pod_template(stage, LAX) is None
    equals_golden("generate-with-pod-template", attempt_manifests(key("DistillDataset"), UID, stage, 1, (), LAX))


def test_a_server_beside_the_stage_has_resources_of_its_own() -> None:
    stage = planned("EvalRun", "eval", TEMPLATE, LAX)
    (manifest,) = attempt_manifests(key("EvalRun"), UID, stage, 1, (), LAX)
    pod = manifest["spec"]["template"]["spec"]
    (container,), (server,) = pod["containers"], pod["initContainers"]
    assert container["resources"] == {"limits": {"memory": "3Gi"}}
    assert server["resources"]["requests"] == {"cpu": "8", "memory": "3Gi"}
    for each in (container, server):
        assert {"name": "SSL_CERT_FILE", "value": "/mnt/ca/ca.crt"} in each["env"]
        assert {"/mnt/ca", "/mnt/scratch"} <= {mount["mountPath"] for mount in each["volumeMounts"]}


def test_a_variable_takes_the_place_of_the_chart_s_and_a_device_stays() -> None:
    configured = settings(
        podTemplate={"allowed": ALLOWED},
        profiles={
            "npu": {
                "deviceTarget": "Ascend",
                "resource": "x.io/npu",
                "env": {"HCCL_SOCKET_IFNAME": "eth0"},
                "resources": {"requests": {"cpu": 1, "memory": "1Gi"}},
            }
        },
    )
    template = {
        "env": [{"name": "HCCL_SOCKET_IFNAME", "value": "enp1"}],
        "resources": [{"stage": "train", "requests": {"memory": "9Gi"}}],
    }
    spec = {"podTemplate": template, "accelerator": {"profile": "npu"}}
    stage = planned("FinetuneRun", "train", spec, configured)
    (manifest,) = attempt_manifests(key("FinetuneRun"), UID, stage, 1, (), configured)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    values = [each["value"] for each in container["env"] if each["name"] == "HCCL_SOCKET_IFNAME"]
    assert values == ["enp1"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "9Gi", "x.io/npu": "1"},
        "limits": {"x.io/npu": "1"},
    }


def test_a_node_that_had_a_fault_is_avoided_besides() -> None:
    stage = planned("FinetuneRun", "train", TEMPLATE, LAX)
    (manifest,) = attempt_manifests(key("FinetuneRun"), UID, stage, 2, ("node-7",), LAX)
    affinity = manifest["spec"]["template"]["spec"]["affinity"]
    asked, avoided = affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert asked["weight"] == 1
    assert avoided["preference"]["matchFields"][0]["values"] == ["node-7"]
    assert "podAntiAffinity" in affinity


def test_what_it_says_changes_nothing_of_what_comes_out() -> None:
    with_it = planned("DistillDataset", "generate", TEMPLATE, LAX)
    assert with_it.contract == planned("DistillDataset", "generate", {}, LAX).contract


@pytest.mark.parametrize("field", [*ALLOWED])
def test_each_field_is_refused_where_the_chart_does_not_allow_it(field: str) -> None:
    template = {field: EVERYTHING[field]}
    stage = planned("DistillDataset", "generate", {"podTemplate": template}, LAX)
    without = settings(podTemplate={"allowed": {**ALLOWED, field: []}})
    refusal = refuse_pod_template(stage, without)
    assert refusal is not None
    assert refusal.reason == NOT_ALLOWED
    assert f"podTemplate.allowed.{field} of the chart's values has none" in refusal.message


def test_the_table_above_has_every_field_and_nothing_is_allowed_unasked() -> None:
    fields = {field.alias for field in PodTemplate.model_fields.values()}
    assert fields == set(EVERYTHING)
    stage = planned("DistillDataset", "generate", TEMPLATE, SETTINGS)
    refusal = refuse_pod_template(stage, SETTINGS)
    assert refusal is not None
    assert all(f"podTemplate.allowed.{field}" in refusal.message for field in ALLOWED)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"env": [{"name": "LD_PRELOAD", "value": "/data/x.so"}]}, "env may not have 'LD_PRELOAD'"),
        ({"env": [{"name": "HTTPS_PROXY", "value": "http://me"}]}, "env may not have 'HTTPS_PROXY'"),
        ({"env": [{"name": "PYTHONPATH", "value": "/data"}]}, "env may not have 'PYTHONPATH'"),
        ({"annotations": {"k8s.v1.cni.cncf.io/networks": "host"}}, "annotations may not have"),
        ({"serviceAccountName": "npu-distill"}, "serviceAccountName may not have 'npu-distill'"),
    ],
)
def test_the_chart_as_shipped_does_not_allow(template: dict[str, Any], message: str) -> None:
    shipped = settings(podTemplate=CHART_VALUES["podTemplate"])
    stage = planned("DistillDataset", "generate", {"podTemplate": template}, shipped)
    refusal = refuse_pod_template(stage, shipped)
    assert refusal is not None
    assert message in refusal.message


def test_the_chart_as_shipped_allows_what_teams_ask_for() -> None:
    shipped = settings(podTemplate=CHART_VALUES["podTemplate"])
    fields = EVERYTHING.keys() - {"annotations", "serviceAccountName", "env"}
    template = {field: EVERYTHING[field] for field in fields} | {"env": [{"name": "OMP_NUM_THREADS", "value": "4"}]}
    stage = planned("DistillDataset", "generate", {"podTemplate": template}, shipped)
    assert refuse_pod_template(stage, shipped) is None


@pytest.mark.parametrize(
    ("configured", "template", "message"),
    [
        ({"nodeSelector": {"pool": "all"}}, {"nodeSelector": {"pool": "mine"}}, "pool is 'all' by the chart's values"),
        ({"podLabels": {"team": "b"}}, {"labels": {"team": "a"}}, "team is 'b' by the chart's values"),
        ({"podAnnotations": {"x": "1"}}, {"annotations": {"x": "2"}}, "x is '1' by the chart's values"),
        (
            {"volumes": [{"name": "driver", "hostPath": {"path": "/x"}}]},
            {"volumes": [{"name": "driver", "emptyDir": {}}]},
            "none named 'driver'",
        ),
        *(({}, {"volumes": [{"name": name, "emptyDir": {}}]}, f"none named '{name}'") for name in POD_VOLUMES),
    ],
)
def test_what_the_chart_says_otherwise_is_refused(
    configured: dict[str, Any], template: dict[str, Any], message: str
) -> None:
    chart = settings(podTemplate={"allowed": ALLOWED}, stages={"generate": configured})
    stage = planned("DistillDataset", "generate", {"podTemplate": template}, chart)
    refusal = refuse_pod_template(stage, chart)
    assert refusal is not None
    assert message in refusal.message


def test_the_volumes_that_a_pod_has_are_all_known() -> None:
    spec = {"accelerator": {"profile": "ascend-910b"}}
    shipped = settings(servers=CHART_VALUES["servers"], profiles=CHART_VALUES["profiles"])
    stage = planned("EvalRun", "eval", spec, shipped)
    (manifest,) = attempt_manifests(key("EvalRun"), UID, stage, 1, (), shipped)
    assert {volume["name"] for volume in manifest["spec"]["template"]["spec"]["volumes"]} <= set(POD_VOLUMES)


def test_certificates_of_one_s_own_are_in_every_container_unless_it_has_others() -> None:
    configured = settings(
        caBundle={"configMapName": "trust", "key": "bundle.pem"},
        profiles={"cpu": {"deviceTarget": "CPU", "env": {"SSL_CERT_FILE": "/data/ca.pem"}}},
    )
    stage = planned("EvalRun", "eval", {}, configured)
    (manifest,) = attempt_manifests(key("EvalRun"), UID, stage, 1, (), configured)
    pod = manifest["spec"]["template"]["spec"]
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "ca-bundle")
    assert volume["configMap"] == {"name": "trust", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
    found = {}
    for container in (*pod["containers"], *pod["initContainers"]):
        assert {"name": "ca-bundle", "mountPath": "/etc/npu-distill-ca", "readOnly": True} in container["volumeMounts"]
        variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        assert variables["REQUESTS_CA_BUNDLE"] == variables["AWS_CA_BUNDLE"] == "/etc/npu-distill-ca/ca.crt"
        found[container["name"]] = variables["SSL_CERT_FILE"]
    assert found == {"stage": "/etc/npu-distill-ca/ca.crt", "server": "/data/ca.pem"}


def decided(spec: dict[str, Any], configured: Settings, **observed: Any) -> tuple[str, str, int]:
    """Reason and message of Ready, and how many children are created."""
    dataset = body("DistillDataset", spec, metadata={"labels": {"cost-center": "7", "other": "x"}})
    decision = decide(key("DistillDataset"), Observation(resource=dataset, **observed), configured, NOW)
    ready = decision.status.condition("Ready")
    assert ready is not None
    return ready.reason, ready.message, len(decision.create)


def test_nothing_is_started_until_it_is_allowed() -> None:
    template = {"podTemplate": {"labels": {"team": "a"}}}
    assert decided(template, SETTINGS)[::2] == (NOT_ALLOWED, 0)
    assert decided(template, LAX)[2] == 1


def test_what_runs_goes_on_when_it_is_not_allowed_any_more() -> None:
    generate = job()
    assert decided({"podTemplate": {"labels": {"team": "a"}}}, SETTINGS, jobs=(generate,))[0] == "Generating"


def test_a_priority_class_may_be_refused_too() -> None:
    strict = settings(priorityClasses={"allowed": ["batch-*"]})
    reason, message, created = decided({"priorityClassName": "system-node-critical"}, strict)
    assert (reason, created) == (NOT_ALLOWED, 0)
    assert "priorityClasses.allowed of the chart's values has batch-*" in message
    assert decided({"priorityClassName": "batch-low"}, strict)[2] == 1


def test_labels_of_the_object_reach_its_jobs_and_pods_if_the_chart_says_so() -> None:
    labels = {"cost-center": "7", "other": "x", "kueue.x-k8s.io/queue-name": "q", "npu-distill.io/uid": "forged"}
    chart = settings(objectLabels=["cost-*", "kueue.x-k8s.io/*", "npu-distill.io/*"])
    dataset = body("DistillDataset", metadata={"labels": labels})
    (manifest,) = decide(key("DistillDataset"), Observation(resource=dataset), chart, NOW).create
    for each in (manifest["metadata"]["labels"], manifest["spec"]["template"]["metadata"]["labels"]):
        assert each["cost-center"] == "7"
        assert each["npu-distill.io/uid"] == UID
        assert not {"other", "kueue.x-k8s.io/queue-name"} & each.keys()


TEACHERS = settings(endpoints={"allowed": ["http://*.teachers.svc/*"]})


@pytest.mark.parametrize(
    ("kind", "spec", "refused"),
    [
        ("DistillDataset", {}, "spec.teacher.endpoints http://teacher/v1"),
        (
            "DistillDataset",
            {
                "teacher": {
                    "model": "a",
                    "endpoints": ["http://a.teachers.svc/v1"],
                    "additionalModels": [{"model": "b", "endpoints": ["http://mine/v1"]}],
                }
            },
            "spec.teacher.additionalModels.endpoints http://mine/v1",
        ),
        (
            "EvalRun",
            {"target": {"endpoint": {"url": "http://mine/v1", "model": "m"}}, "accelerator": None},
            "spec.target.endpoint.url http://mine/v1",
        ),
    ],
)
def test_an_endpoint_that_is_not_allowed_is_asked_nothing(kind: str, spec: dict[str, Any], refused: str) -> None:
    decision = decide(key(kind), observation(kind, resource=body(kind, spec)), TEACHERS, NOW)
    ready = decision.status.condition("Ready")
    assert ready is not None
    assert (ready.reason, decision.create) == ("EndpointNotAllowed", ())
    assert refused in ready.message


def test_an_endpoint_that_is_allowed_is_asked() -> None:
    teacher = {"endpoints": ["http://deepseek-r1.teachers.svc:1025/v1"], "model": "deepseek-r1"}
    assert decided({"teacher": teacher}, TEACHERS)[2] == 1


def fields_of(schema: Manifest, path: str) -> Iterator[tuple[str, Manifest]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field.get("items", field)
        yield from fields_of(field, f"{path}.{name}")
        yield from fields_of(field.get("items", {}), f"{path}.{name}")


def marked(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        where = f"{path}.{field.alias or name}"
        if is_endpoint(field):
            yield where
        for inner in _models(field.annotation):
            yield from marked(inner, where)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


@pytest.mark.parametrize("kind", KINDS)
def test_every_url_of_a_server_is_held_against_what_is_allowed(kind: str) -> None:
    """A field that takes `http://…` and nothing else is one; a new one that is not marked would be asked unasked."""
    root = custom_resource_definition(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    urls = {
        path for path, field in fields_of(root["properties"]["spec"], "spec") if "^http" in field.get("pattern", "")
    }
    spec = KINDS[kind].model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert urls == set(marked(spec, "spec"))


def test_urls_are_found_in_lists_of_blocks() -> None:
    teacher = {
        "model": "a",
        "endpoints": ["http://a", "http://b"],
        "additionalModels": [{"model": "b", "endpoints": ["http://c"]}],
    }
    found = [url for _, url in endpoints_of(resource("DistillDataset", {"teacher": teacher}).spec, "spec")]
    assert sorted(found) == ["http://a", "http://b", "http://c"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"containers": []}, "containers"),
        ({"securityContext": {"privileged": True}}, "securityContext"),
        ({"automountServiceAccountToken": True}, "automountServiceAccountToken"),
        ({"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}, "volumes.0.hostPath"),
        ({"volumes": [{"name": "token", "projected": {}}]}, "volumes.0.projected"),
        ({"volumeMounts": [{"name": "a", "mountPath": "/data"}]}, "mountPath"),
        ({"volumeMounts": [{"name": "a", "mountPath": "/mnt/../data"}]}, "mountPath"),
        ({"volumeMounts": [{"name": "a", "mountPath": "/mnt/"}]}, "mountPath"),
        ({"resources": [{"stage": "train", "limits": {"huawei.com/Ascend910": 8}}]}, "huawei.com/Ascend910"),
        ({"resources": [{"stage": "train", "limits": {"memory": "64GB"}}]}, "no quantity"),
        ({"resources": [{"stage": "train", "limits": {"memory": True}}]}, "memory"),
        ({"resources": [{"stage": "train", "limits": {"memory": 1.5}}]}, "memory"),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {}}}}, "tuple"),
        ({"env": [{"name": "A=B", "value": ""}]}, "name"),
        ({"labels": {"a": "not a label"}}, "labels.a"),
    ],
)
def test_what_cannot_be_said_at_all(template: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PodTemplate.model_validate(template)


def test_amounts_may_be_whole_numbers() -> None:
    template = PodTemplate.model_validate({"resources": [{"stage": "pack", "requests": {"cpu": 2, "memory": "1.5Gi"}}]})
    assert template.resources[0].requests.named() == {"cpu": "2", "memory": "1.5Gi"}


def test_nothing_is_changed_without_one() -> None:
    stage = planned("DistillDataset", "generate", {}, SETTINGS)
    untouched: Manifest = {"metadata": {}, "spec": {}}
    add_pod_template(untouched, stage)
    assert untouched == {"metadata": {}, "spec": {}}


def test_a_finished_stage_needs_no_allowance() -> None:
    """The list may become shorter: what is done stays done."""
    recorded = [succeeded_stage(name).to_json() for name in ("generate", "filter", "pack")]
    dataset = body("DistillDataset", {"podTemplate": {"labels": {"team": "a"}}}, status={"stages": recorded})
    decision = decide(key("DistillDataset"), Observation(resource=dataset), SETTINGS, NOW)
    ready = decision.status.condition("Ready")
    assert ready is not None
    assert ready.reason == "Packed"
