"""The chart's values agree with their schema's names and with the operator's settings.

What needs Helm itself, rendering and validation, is in tests/e2e/test_chart.py.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from distill_operator.allowed import Endpoints, PodTemplateAllowed, PriorityClasses
from distill_operator.api import EvalRunStatus, FinetuneRunStatus, StageState, StageStatus
from distill_operator.api.pod_template import PodTemplate
from distill_operator.api.quantities import QUANTITY
from distill_operator.metrics import Metrics
from distill_operator.observation import ResourceKey
from distill_operator.settings import CaBundle, PodSettings, Profile, Server, Settings, Verifiers
from distill_runtime.contract import Model
from distill_runtime.contract.parameters import EntryPoint

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "npu-distill"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


METRIC = r"npu_distill_[a-z_]+"


def everything_observed() -> Metrics:
    """Give the metrics of an operator that has seen something of everything, so that each has its labels."""
    metrics = Metrics()
    train = StageStatus(name="train", state=StageState.RUNNING, metrics={"memoryPerDevice": 1.0})
    status = FinetuneRunStatus(
        epoch=1,
        step=1,
        total_steps=1,
        loss=1,
        learning_rate=1,
        gradient_norm=1,
        tokens_per_second=1,
        model_flops_utilization=1,
        last_checkpoint_step=1,
        last_checkpoint_time=datetime.fromtimestamp(1, UTC),
        lost_steps=1,
        stages=(train,),
    )
    metrics.observe(ResourceKey("FinetuneRun", "a", "b"), status)
    metrics.observe(ResourceKey("EvalRun", "a", "b"), EvalRunStatus(score=1))
    metrics.status_written("FinetuneRun", "a")
    metrics.child_created("FinetuneRun", "a")
    with metrics.reconciliation("FinetuneRun"), suppress(ValueError), metrics.reconciliation("FinetuneRun"):
        raise ValueError("counted")
    return metrics


@dataclass(frozen=True)
class Exposed:
    """What Prometheus reads: the type of each metric, and the labels of its series."""

    types: dict[str, str]
    labels: dict[str, set[str]]

    @classmethod
    def by(cls, metrics: Metrics) -> "Exposed":
        text = metrics.expose().decode()
        labels: dict[str, set[str]] = {}
        for name, found in re.findall(rf"^({METRIC})(?:\{{(.*)\}})? ", text, re.MULTILINE):
            labels.setdefault(name, set()).update(re.findall(r"(\w+)=", found))
        return cls(dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)), labels)

    def wrong_in(self, query: str) -> list[str]:
        """Say which metrics and labels there are not, and which gauges are taken for counters.

        increase() of a gauge counts a fall as a start from zero.
        """
        used = re.findall(METRIC, query)
        wrong = [] if used else ["no metric"]
        wrong += [f"no metric {name}" for name in used if name not in self.labels]
        there = set().union(*(self.labels.get(name, set()) for name in used))
        asked = re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", query)
        asked += [",".join(re.findall(r"(\w+)\s*[=!]~?", match)) for match in re.findall(r"\{([^{}]*)\}", query)]
        names = [name.strip() for some in asked for name in some.split(",") if name.strip()]
        wrong += [f"no label {name}" for name in names if name not in there]
        growing = re.findall(r"(?:increase|rate|irate)\((\w+)", query)
        gauges = [name for name in growing if self.types.get(name) == "gauge"]
        return wrong + [f"{name} is a gauge" for name in gauges]


def json_names(model: type[Model]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


RULES = (CHART / "templates/prometheusrule.yaml").read_text()
DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards/npu-distill.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS: dict[str, str] = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
VARIABLES: dict[str, str] = {
    variable["name"]: variable["definition"]
    for variable in DASHBOARD["templating"]["list"]
    if variable["type"] == "query"
}


@pytest.fixture(scope="module")
def exposed() -> Exposed:
    return Exposed.by(everything_observed())


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.model_validate(
        {
            "images": {"runtime": "runtime"},
            "stagePodSecurityContext": VALUES["stagePodSecurityContext"],
            "jobs": VALUES["jobs"],
            "stages": VALUES["stages"],
            "verifiers": VALUES["verifiers"],
            "servers": VALUES["servers"],
            "profiles": VALUES["profiles"],
        }
    )


def test_schema_knows_every_value_and_no_other() -> None:
    assert set(SCHEMA["properties"]) == set(VALUES)


def undescribed(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        if not field.get("description"):
            yield f"{path}.{name}"
        yield from undescribed(field, f"{path}.{name}")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from undescribed(schema["additionalProperties"], f"{path}.*")


def test_the_schema_describes_every_value() -> None:
    """Editors show it, and Rancher's form."""
    assert [*undescribed(SCHEMA, "values")] == []


def test_the_bundle_of_certificates_has_the_fields_of_the_operator_s_settings() -> None:
    assert set(SCHEMA["properties"]["caBundle"]["properties"]) == json_names(CaBundle)
    assert CaBundle.model_validate(VALUES["caBundle"]) == CaBundle()


def test_profiles_have_the_fields_of_the_operator_s_settings() -> None:
    profile = SCHEMA["properties"]["profiles"]["additionalProperties"]
    assert set(profile["properties"]) == json_names(Profile)


def test_servers_have_the_fields_of_the_operator_s_settings() -> None:
    server = SCHEMA["properties"]["servers"]["additionalProperties"]
    assert set(server["properties"]) == json_names(Server)


def test_profiles_name_servers_that_there_are(settings: Settings) -> None:
    assert set(settings.servers) == {"mindformers", "vllm-ascend", "mindie"}
    assert {profile.server for profile in settings.profiles.values()} <= set(settings.servers)


def test_stages_have_the_fields_of_the_operator_s_settings() -> None:
    stage = SCHEMA["properties"]["stages"]["additionalProperties"]
    assert set(stage["properties"]) == json_names(PodSettings)


def test_no_function_of_a_user_may_be_called_unless_it_is_listed(settings: Settings) -> None:
    verifiers = SCHEMA["properties"]["verifiers"]["properties"]
    assert set(verifiers) == json_names(Verifiers)
    (pattern,) = (field.pattern for field in get_args(EntryPoint)[1].metadata if hasattr(field, "pattern"))
    assert verifiers["python"]["items"]["pattern"] == pattern
    assert settings.verifiers.python == ()


def quantity(text: str) -> bool:
    return re.search(SCHEMA["definitions"]["quantity"]["pattern"], text) is not None


@pytest.mark.parametrize(
    "text",
    ["1", "16", "0.5", ".5", "5.", "+1", "500m", "100n", "128Mi", "1.5Gi", "2k", "3M", "4E", "5Ei", "1e3", "1E-3"],
)
def test_what_kubernetes_takes_as_a_quantity_is_taken(text: str) -> None:
    assert quantity(text)
    assert QUANTITY.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["1GB", "1 Gi", "1gi", "1Ki1", "-1", "", ".", "1,5Gi", "1K", "1mi", "one", "64G i", "1e"]
)
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    assert not quantity(text)
    assert not QUANTITY.fullmatch(text)


def test_the_alerts_use_metrics_that_there_are_and_as_what_they_are(exposed: Exposed) -> None:
    assert exposed.wrong_in(RULES) == []


@pytest.mark.parametrize("query", [*EXPRESSIONS.values(), *VARIABLES.values()], ids=[*EXPRESSIONS, *VARIABLES])
def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(query: str, exposed: Exposed) -> None:
    assert exposed.wrong_in(query) == []


def test_the_documentation_s_expressions_ask_for_metrics_and_labels_that_there_are(exposed: Exposed) -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    expressions = re.findall(r"\| `([^`]*\([^`]*npu_distill[^`]*)` \|", text)
    assert len(expressions) == 6
    assert {
        expression: exposed.wrong_in(expression) for expression in expressions if exposed.wrong_in(expression)
    } == {}


def test_what_is_wrong_in_a_query_is_found(exposed: Exposed) -> None:
    assert exposed.wrong_in("npu_distill_training_los") == ["no metric npu_distill_training_los"]
    assert exposed.wrong_in('sum by (nmae) (npu_distill_training_loss{pod="x"})') == ["no label nmae", "no label pod"]
    assert exposed.wrong_in("rate(npu_distill_training_restarts[5m])") == ["npu_distill_training_restarts is a gauge"]
    assert exposed.wrong_in("vector(1)") == ["no metric"]


def test_every_metric_is_on_the_dashboard(exposed: Exposed) -> None:
    shown = set(re.findall(METRIC, " ".join(EXPRESSIONS.values())))
    elsewhere = {"npu_distill_training_epoch", "npu_distill_training_memory_per_device_bytes"}
    metrics = {name for name in exposed.types if not name.endswith("_created")}  # when a counter began
    assert {name for name in metrics if not any(each.startswith(name) for each in shown)} == elsewhere


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    sources = [part["datasource"]["uid"] for panel in PANELS for part in (panel, *panel["targets"])]
    assert set(sources) == {"${datasource}"}


def test_the_shipped_profiles_are_there(settings: Settings) -> None:
    assert set(settings.profiles) == {"cpu", "ascend-910b", "ascend-a3"}


@pytest.mark.parametrize("name", ["ascend-910b", "ascend-a3"])
def test_ascend_profiles_ask_for_devices_and_shared_memory(name: str, settings: Settings) -> None:
    profile = settings.profiles[name]
    assert profile.device_target == "Ascend"
    assert profile.resource == "huawei.com/Ascend910"
    assert profile.devices_per_node in (8, 16)
    assert profile.shared_memory
    assert profile.device_memory == "64Gi"
    assert profile.env["HCCL_SOCKET_IFNAME"] == "eth0"


@pytest.mark.parametrize(("name", "memory"), [("ascend-910b", "64Gi"), ("ascend-a3", "64Gi"), ("cpu", "")])
def test_the_memory_of_a_device_is_known_where_runs_are_checked_against_it(
    name: str, memory: str, settings: Settings
) -> None:
    assert settings.profiles[name].device_memory == memory


@pytest.mark.parametrize("name", ["ascend-910b", "ascend-a3"])
def test_pods_with_npus_are_of_the_group_that_device_files_belong_to(name: str, settings: Settings) -> None:
    assert settings.profiles[name].pod_security_context == {"supplementalGroups": [1000]}


@pytest.mark.parametrize("name", ["ascend-910b", "ascend-a3"])
def test_a_device_that_hangs_holds_the_others_for_minutes(name: str, settings: Settings) -> None:
    """HCCL's own default for a step is 1836 s; a connection takes at least 120 s to be given up."""
    environment = settings.profiles[name].env
    waits = [int(str(environment[variable])) for variable in ("HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT")]
    assert all(120 <= seconds <= 600 for seconds in waits)


@pytest.mark.parametrize("name", ["ascend-910b", "ascend-a3"])
def test_a_node_has_room_for_a_checkpoint_of_seven_billion_parameters(name: str, settings: Settings) -> None:
    """By the formula of docs/operating.md#memory-of-a-node, in GiB, on one node."""
    profile = settings.profiles[name]
    copy = 12 * 7.6e9 / 2**30
    processes = 5 * (profile.devices_per_node or 0)
    shared = int(profile.shared_memory.removesuffix("Gi"))
    requested = int(profile.resources.requests["memory"].removesuffix("Gi"))
    limit = int(profile.resources.limits["memory"].removesuffix("Gi"))
    assert copy + processes <= requested <= 1.05 * (copy + processes)
    assert 2 * copy + processes + shared <= limit <= 1.05 * (2 * copy + processes + shared)


def test_the_cpu_profile_asks_for_no_device(settings: Settings) -> None:
    assert settings.profiles["cpu"].device_target == "CPU"
    assert not settings.profiles["cpu"].resource


def test_no_shipped_profile_leaves_pod_security_restricted(settings: Settings) -> None:
    for name, profile in settings.profiles.items():
        assert not profile.volumes, name
        assert not profile.host_network, name
        assert profile.pod_security_context.keys() <= {"supplementalGroups"}, name
        assert not profile.container_security_context, name


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == package["version"]


def test_what_objects_may_set_has_the_fields_of_the_operator_s_settings() -> None:
    allowed = SCHEMA["properties"]["podTemplate"]["properties"]["allowed"]["properties"]
    assert set(allowed) == json_names(PodTemplateAllowed)
    assert PodTemplateAllowed.model_validate(VALUES["podTemplate"]["allowed"]).service_account_name == ()
    assert allowed.keys() | {"volumeMounts"} == json_names(PodTemplate)
    assert PriorityClasses.model_validate(VALUES["priorityClasses"]) == PriorityClasses()
    assert Endpoints.model_validate(VALUES["endpoints"]) == Endpoints()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", True),
        ("http://*.teachers.svc/*", True),
        ("http://[fd00::*]:80", True),
        ("h/v1", False),
        ("http://a@b", False),
    ],
)
def test_patterns_of_endpoints_are_the_same_in_the_schema(text: str, expected: bool) -> None:
    pattern = SCHEMA["properties"]["endpoints"]["properties"]["allowed"]["items"]["pattern"]
    assert (re.search(pattern, text) is not None) is expected
    with nullcontext() if expected else pytest.raises(ValidationError):
        Endpoints(allowed=(text,))
