"""The chart as Helm renders it: golden files for review, and what no value may break.

`pytest tests/e2e/test_chart.py --update-golden` writes the golden files anew. Needs Helm, which it
builds if need be, not a cluster.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill_operator.settings import Settings, load_settings
from tests.cluster.build import HELM, build
from tests.cluster.lifecycle import alone
from tests.cluster.settings import read_settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "npu-distill"
GOLDEN = Path(__file__).parent / "golden"

VALUES: dict[str, list[str]] = {
    "default": [],
    "customised": [
        "image.repository=registry.local/operator",
        "image.tag=v2",
        f"runtimeImage.digest=sha256:{'ab' * 32}",
        "global.imageRegistry=mirror.local:5000",
        "fullnameOverride=distill",
        "commonLabels.owner=ml",
        "commonAnnotations.contact=ml@example",
        "extraEnv[0].name=TZ",
        "extraEnv[0].value=UTC",
        "extraVolumes[0].name=more",
        "extraVolumes[0].emptyDir.sizeLimit=1Mi",
        "extraVolumeMounts[0].name=more",
        "extraVolumeMounts[0].mountPath=/more",
        "caBundle.configMapName=trust",
        "networkPolicies.operator.enabled=true",
        "networkPolicies.stages.enabled=true",
        "networkPolicies.stages.egress[0].to[0].namespaceSelector.matchLabels.teachers=yes",
        "podMonitor.enabled=true",
        "imagePullSecrets={key}",
        "watchNamespaces={team-a,team-b}",
        "queues.default.kueue=everybody",
        "queues.kueue=true",
        "queues.native=true",
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
        "stagePodSecurityContext.runAsUser=2000",
        "stagePodSecurityContext.fsGroup=null",
        "profiles.ascend-910b=null",
        "priorityClassName=system-cluster-critical",
        "serviceMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "prometheusRule.labels.release=main",
    ],
}
"""Sets of values by the name of their golden file."""


@pytest.fixture(scope="module", autouse=True)
def _helm_is_built() -> None:
    settings = read_settings()
    with alone(settings):
        build(settings, lambda line: sys.stderr.write(f"{line}\n"), [HELM])


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([read_settings().programs / "helm", *arguments], capture_output=True, text=True, check=False)


def render(values: list[str]) -> str:
    return rendered(tuple(values))


@cache
def rendered(values: tuple[str, ...]) -> str:
    """Render the chart once with each set of values, which takes Helm half a second of a processor."""
    settings = [argument for value in values for argument in ("--set", value)]
    result = helm("template", "npu-distill", str(CHART), "--namespace", "npu-distill-system", *settings)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def only(kind: str, text: str) -> dict[str, Any]:
    (found,) = [document for document in objects(text) if document["kind"] == kind]
    return found


def operator_settings(text: str, folder: Path) -> Settings:
    path = folder / "operator.yaml"
    path.write_text(only("ConfigMap", text)["data"]["operator.yaml"])
    return load_settings(path)


def test_lint_finds_nothing() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", VALUES)
def test_rendering_is_the_golden_file(name: str, equals_golden_text: Callable[[Path, str], None]) -> None:
    equals_golden_text(GOLDEN / f"chart-{name}.yaml", render(VALUES[name]))


@pytest.mark.parametrize("name", VALUES)
def test_the_operator_can_read_its_configuration(name: str, tmp_path: Path) -> None:
    settings = operator_settings(render(VALUES[name]), tmp_path)
    assert "cpu" in settings.profiles


def test_grafana_is_given_the_dashboard_as_it_is() -> None:
    """Its braces are Grafana's, not Helm's."""
    text = render(["grafanaDashboard.enabled=true", "grafanaDashboard.namespace=monitoring"])
    (dashboard,) = [each for each in objects(text) if each["metadata"]["name"] == "npu-distill-dashboard"]
    assert dashboard["metadata"]["namespace"] == "monitoring"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["data"] == {"npu-distill.json": (CHART / "dashboards/npu-distill.json").read_text()}


RESTRICTED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_users_and_groups_may_be_left_to_the_cluster(tmp_path: Path) -> None:
    """As OpenShift's restricted-v2 wants; the rest of Pod Security restricted stays."""
    fields = ("podSecurityContext.runAsUser", "podSecurityContext.runAsGroup")
    stage_fields = ("runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy")
    text = render(
        [f"{field}=null" for field in (*fields, *(f"stagePodSecurityContext.{name}" for name in stage_fields))]
    )
    assert only("Deployment", text)["spec"]["template"]["spec"]["securityContext"] == RESTRICTED
    assert operator_settings(text, tmp_path).stage_pod_security_context == RESTRICTED


def test_a_user_of_ten_digits_stays_a_whole_number(tmp_path: Path) -> None:
    """As OpenShift's are; Helm reads numbers of values as floating point."""
    values = tmp_path / "values.yaml"
    values.write_text("stagePodSecurityContext: {runAsUser: 1000680000}")
    result = helm("template", "npu-distill", str(CHART), "--values", str(values))
    assert "runAsUser: 1000680000\n" in result.stdout


def test_a_profile_set_to_null_is_gone(tmp_path: Path) -> None:
    settings = operator_settings(render(["profiles.ascend-910b=null"]), tmp_path)
    assert set(settings.profiles) == {"cpu", "ascend-910b-volcano", "ascend-a3"}


def test_a_profile_of_one_s_own_is_added(tmp_path: Path) -> None:
    text = render(
        ["profiles.mine.deviceTarget=Ascend", "profiles.mine.resource=x.io/npu", "profiles.mine.devicesPerNode=4"]
    )
    assert operator_settings(text, tmp_path).profiles["mine"].devices_per_node == 4


def test_another_configuration_is_another_pod() -> None:
    def checksum(values: list[str]) -> str:
        template = only("Deployment", render(values))["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum([]) == checksum([])
    assert checksum([]) != checksum(["progressIntervalSeconds=30"])


def images(text: str, folder: Path) -> dict[str, str]:
    settings = operator_settings(text, folder)
    (container,) = only("Deployment", text)["spec"]["template"]["spec"]["containers"]
    served = {name: server.image for name, server in settings.servers.items() if server.image}
    profiles = {name: profile.image for name, profile in settings.profiles.items() if profile.image}
    return {"operator": container["image"], "runtime": settings.images.runtime, **served, **profiles}


DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], {"operator": "localhost/npu-distill/operator:0.1.0", "mindie": "mindie:2.3.0"}),
        (
            [f"image.digest={DIGEST}", f"runtimeImage.digest={DIGEST}", "runtimeImage.tag=v9"],
            {
                "operator": f"localhost/npu-distill/operator@{DIGEST}",
                "runtime": f"localhost/npu-distill/runtime@{DIGEST}",
            },
        ),
        (
            [
                "global.imageRegistry=mirror.local:5000/all/",
                "runtimeImage.repository=team/runtime",
                f"profiles.cpu.image=registry:5000/cpu@{DIGEST}",
            ],
            {
                "operator": "mirror.local:5000/all/npu-distill/operator:0.1.0",
                "runtime": "mirror.local:5000/all/team/runtime:0.1.0",
                "vllm-ascend": "mirror.local:5000/all/ascend/vllm-ascend:v0.13.0",
                "mindie": "mirror.local:5000/all/mindie:2.3.0",
                "cpu": f"mirror.local:5000/all/cpu@{DIGEST}",
            },
        ),
    ],
    ids=["as named", "by digest", "from a mirror"],
)
def test_images_are_those_that_are_named(values: list[str], expected: dict[str, str], tmp_path: Path) -> None:
    found = images(render(values), tmp_path)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([], "npu-distill"),
        (["nameOverride=npu"], "npu-distill"),
        (["nameOverride=other"], "npu-distill-other"),
        (["fullnameOverride=mine"], "mine"),
        ([f"fullnameOverride={'x' * 53}"], "x" * 53),
    ],
)
def test_names_may_be_others(values: list[str], name: str) -> None:
    text = render([*values, "grafanaDashboard.enabled=true", "podMonitor.enabled=true"])
    assert only("Deployment", text)["metadata"]["name"] == name
    assert all(each["metadata"]["name"].startswith(name) for each in objects(text))
    assert max(len(each["metadata"]["name"]) for each in objects(text)) <= 63


def test_common_labels_and_annotations_are_on_everything_and_no_selector() -> None:
    values = ["commonLabels.owner=ml", "commonAnnotations.contact=ml@example"]
    optional = ["serviceMonitor", "podMonitor", "prometheusRule", "grafanaDashboard"]
    text = render([*values, *(f"{name}.enabled=true" for name in optional), "networkPolicies.operator.enabled=true"])
    for each in objects(text):
        metadata = each["metadata"]
        assert metadata["labels"]["owner"] == "ml", each["kind"]
        assert metadata["annotations"]["contact"] == "ml@example", each["kind"]
    assert "owner" not in only("Deployment", text)["spec"]["selector"]["matchLabels"]
    assert "owner" in only("Deployment", text)["spec"]["template"]["metadata"]["labels"]


def test_stages_have_network_policies_where_they_may_run() -> None:
    result = helm("template", "x", str(CHART), "--set", "networkPolicies.stages.enabled=true")
    assert "needs watchNamespaces" in result.stderr
    found = [each for each in objects(render(VALUES["customised"])) if each["kind"] == "NetworkPolicy"]
    assert [each["metadata"]["namespace"] for each in found] == ["npu-distill-system", "team-a", "team-b"]


KINDS = ("distilldatasets", "finetuneruns", "evalruns")
RIGHTS: set[tuple[str, str, str]] = {
    *((f"npu-distill.io/{kind}", verb, "observe") for kind in KINDS for verb in ("list", "watch")),
    *((f"npu-distill.io/{kind}/status", "patch", "report") for kind in KINDS),
    *((f"npu-distill.io/{kind}/finalizers", "update", "own children where that is checked") for kind in KINDS),
    *(("batch/jobs", verb, "run stages") for verb in ("create", "delete", "get", "list", "watch")),
    *(("/pods", verb, "follow them") for verb in ("list", "watch")),
    *(("/services", verb, "have Pods of a training meet") for verb in ("create", "get")),
    ("events.k8s.io/events", "create", "announce"),
}
"""Everything that the operator may do, each with what for. One more is a decision: docs/security.md says them all."""
RIGHTS_FOR_QUEUES = {
    ("kueue.x-k8s.io/workloads", "list", "say why a Job waits"),
    ("visibility.kueue.x-k8s.io/localqueues/pendingworkloads", "get", "say at which place it waits"),
    *(("scheduling.k8s.io/podgroups", verb, "have Pods placed together") for verb in ("create", "get")),
}
"""What `queues.kueue` and `queues.native` add."""


@pytest.mark.parametrize("name", VALUES)
def test_the_operator_has_these_rights_and_no_others(name: str) -> None:
    found = objects(render(VALUES[name]))
    bound = [each["roleRef"]["name"] for each in found if each["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    roles = [each for each in found if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"] in bound]
    assert len(roles) == len(bound) > 0
    for role in roles:
        rights = {
            (f"{group}/{resource}", verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        expected = RIGHTS | RIGHTS_FOR_QUEUES if "queues.kueue=true" in VALUES[name] else RIGHTS
        assert rights == {(resource, verb) for resource, verb, _ in expected}
        assert not any(rule.keys() - {"apiGroups", "resources", "verbs"} for rule in role["rules"])


def test_with_namespaces_it_has_no_right_in_the_cluster() -> None:
    found = objects(render(VALUES["customised"]))
    assert not [document for document in found if document["kind"] == "ClusterRoleBinding"]
    assert [document["metadata"]["namespace"] for document in found if document["kind"] == "Role"] == [
        "team-a",
        "team-b",
    ]


def test_people_s_roles_are_added_to_those_of_kubernetes() -> None:
    """Whoever may view, edit or administer a namespace may so the three kinds, and nobody writes a status."""
    aggregate = "rbac.authorization.k8s.io/aggregate-to-"
    roles = {
        each["metadata"]["name"]: each
        for each in objects(render([]))
        if any(label.startswith(aggregate) for label in each["metadata"].get("labels", {}))
    }
    verbs = {name: {verb for rule in role["rules"] for verb in rule["verbs"]} for name, role in roles.items()}
    assert verbs == {
        "npu-distill-view": {"get", "list", "watch"},
        "npu-distill-edit": {
            *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
        },
    }
    assert {resource for role in roles.values() for rule in role["rules"] for resource in rule["resources"]} == {*KINDS}
    assert f"{aggregate}view" in roles["npu-distill-view"]["metadata"]["labels"]
    assert f"{aggregate}view" not in roles["npu-distill-edit"]["metadata"]["labels"]
    assert f"{aggregate}edit" in roles["npu-distill-edit"]["metadata"]["labels"]


def policy(name: str, text: str) -> str:
    """Give a policy's expressions as one text."""
    (found,) = [
        each["spec"]
        for each in objects(text)
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"] == f"npu-distill-{name}"
    ]
    return "\n".join(each["expression"] for each in found["validations"])


def test_the_operator_may_give_its_pods_what_the_configuration_has_and_no_more() -> None:
    plain = policy("jobs", render([]))
    assert "volume.hostPath.path in []" in plain
    assert "hostNetwork" in plain
    assert "privileged" in plain
    widened = policy(
        "jobs",
        render(
            [
                "profiles.ascend-910b.hostNetwork=true",
                "profiles.ascend-910b.volumes[0].name=d",
                "profiles.ascend-910b.volumes[0].hostPath.path=/usr/local/dcmi",
                "servers.vllm-ascend.containerSecurityContext.privileged=true",
                "podTemplate.allowed.serviceAccountName={distill,team-*.x}",
            ]
        ),
    )
    assert 'volume.hostPath.path in ["/usr/local/dcmi"]' in widened
    assert "hostNetwork" not in widened
    assert "privileged" not in widened
    assert r'.matches("^(distill|team-.*\\.x)$")' in widened


def test_policies_are_bound_and_may_be_left_out() -> None:
    def kinds(values: list[str]) -> list[str]:
        return [each["kind"] for each in objects(render(values)) if each["kind"].startswith("ValidatingAdmission")]

    assert kinds([]).count("ValidatingAdmissionPolicy") == kinds([]).count("ValidatingAdmissionPolicyBinding") == 3
    assert len(kinds(["admissionPolicies.labelledSecretsOnly=false"])) == 4
    assert kinds(["admissionPolicies.enabled=false"]) == []


def test_nodes_are_read_only_where_the_values_say_so() -> None:
    found = objects(render(["watchNamespaces={team-a}", "queues.nodes=true"]))
    (role,) = [each for each in found if each["kind"] == "ClusterRole" and "-nodes." in each["metadata"]["name"]]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
    assert any(document["kind"] == "ClusterRoleBinding" for document in found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("profiles.cpu.devicetarget=CPU", "'devicetarget' not allowed"),
        ("profiles.mine.deviceTarget=Ascend", "missing properties 'resource', 'devicesPerNode'"),
        ("watchNamespaces=team-a", "want array"),
        ("stages.train.env.A=b", "invalid propertyName 'train'"),
        ("progressIntervalSeconds=0", "/progressIntervalSeconds"),
        ("jobs.ttlSecondsAfterFinished=60", "/jobs/ttlSecondsAfterFinished"),
        ("podSecurityContext.runAsUser=me", "/podSecurityContext/runAsUser"),
        ("stagePodSecurityContext.fsGroup=-1", "/stagePodSecurityContext/fsGroup"),
        ("profiles.ascend-a3.podSecurityContext.runAsUser=me", "/profiles/ascend-a3/podSecurityContext/runAsUser"),
        ("verifiers.python={timeit}", "does not match pattern"),
        ("endpoints.allowed={teachers}", "/endpoints/allowed/0"),
        ("podTemplate.allowed.volumes={hostPath}", "/podTemplate/allowed/volumes/0"),
        ("podTemplate.allowed.image={x}", "'image' not allowed"),
        ("queues.default.kueue=Team A", "/queues/default/kueue"),
        ("queues.default.workloadPriorityClass=high", "/queues/default"),
        ("replicas=2", "'replicas' not allowed"),
        ("image.digest=abc", "/image/digest"),
        ("networkPolicies.operator.apiServerPorts={0}", "/networkPolicies/operator/apiServerPorts/0"),
        ("resources.limits.memory=1GB", "/resources/limits/memory': '1GB' does not match pattern"),
        ("stages.filter.resources.requests.cpu=500 m", "/stages/filter/resources/requests/cpu"),
        ("profiles.cpu.sharedMemory=64GB", "/profiles/cpu/sharedMemory"),
        ("stages.pack.sharedMemory=1 Gi", "/stages/pack/sharedMemory"),
        ("profiles.ascend-910b.deviceMemory=64GB", "/profiles/ascend-910b/deviceMemory"),
        ("profiles.ascend-910b.allowedDevices={0}", "/profiles/ascend-910b/allowedDevices/0"),
        ("profiles.ascend-910b.hostNetwork=yes please", "/profiles/ascend-910b/hostNetwork"),
        ("profiles.ascend-910b.env.HCCL_IF_IP.fieldRef.fieldPath=status.podIP", "/profiles/ascend-910b/env/HCCL_IF_IP"),
    ],
)
def test_wrong_values_are_refused(value: str, message: str) -> None:
    result = helm("template", "npu-distill", str(CHART), "--set", value)
    assert result.returncode != 0
    assert message in result.stderr
