"""The chart as Helm renders it: golden files for review, and what no value may break.

`pytest tests/e2e/test_chart.py --update-golden` writes the golden files anew. Needs Helm, which it
builds if need be, not a cluster.
"""

import subprocess
import sys
from collections.abc import Callable
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


@pytest.mark.parametrize("name", VALUES)
def test_the_operator_can_read_no_secret(name: str) -> None:
    roles = [document for document in objects(render(VALUES[name])) if document["kind"] in ("Role", "ClusterRole")]
    resources = {resource for role in roles for rule in role["rules"] for resource in rule["resources"]}
    assert "jobs" in resources
    assert not resources & {"secrets", "*", "pods/exec", "serviceaccounts"}
    assert not {verb for role in roles for rule in role["rules"] for verb in rule["verbs"]} & {"*", "escalate", "bind"}


def test_with_namespaces_it_has_no_right_in_the_cluster() -> None:
    found = objects(render(VALUES["customised"]))
    assert not [document for document in found if document["kind"].startswith("ClusterRole")]
    assert [document["metadata"]["namespace"] for document in found if document["kind"] == "Role"] == [
        "team-a",
        "team-b",
    ]


def test_nodes_are_read_only_where_the_values_say_so() -> None:
    found = objects(render(["watchNamespaces={team-a}", "queues.nodes=true"]))
    (role,) = [document for document in found if document["kind"] == "ClusterRole"]
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
        ("queues.default.kueue=Team A", "/queues/default/kueue"),
        ("queues.default.workloadPriorityClass=high", "/queues/default"),
        ("replicas=2", "'replicas' not allowed"),
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
