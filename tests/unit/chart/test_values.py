"""The chart's values agree with their schema's names and with the operator's settings.

What needs Helm itself, rendering and validation, is in tests/e2e/test_chart.py.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from distill_operator.metrics import Metrics
from distill_operator.settings import QUANTITY, PodSettings, Profile, Settings, Verifiers
from distill_runtime.contract import Model
from distill_runtime.contract.parameters import EntryPoint

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "npu-distill"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


def json_names(model: type[Model]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


RULES = (CHART / "templates/prometheusrule.yaml").read_text()


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.model_validate(
        {
            "images": {"runtime": "runtime"},
            "stagePodSecurityContext": VALUES["stagePodSecurityContext"],
            "jobs": VALUES["jobs"],
            "stages": VALUES["stages"],
            "verifiers": VALUES["verifiers"],
            "profiles": VALUES["profiles"],
        }
    )


def test_schema_knows_every_value_and_no_other() -> None:
    # `global` is Helm's own: a parent chart may set it.
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)


def test_profiles_have_the_fields_of_the_operator_s_settings() -> None:
    profile = SCHEMA["properties"]["profiles"]["additionalProperties"]
    assert set(profile["properties"]) == json_names(Profile)


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


def test_the_alerts_use_metrics_that_there_are_and_as_what_they_are() -> None:
    """increase() of a gauge counts a fall as a start from zero."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", Metrics().expose().decode(), re.MULTILINE))
    used = set(re.findall(r"npu_distill_[a-z_]+", RULES))
    assert used
    assert used <= types.keys()
    growing = re.findall(r"(?:increase|rate|irate)\((\w+)\[", RULES)
    assert growing
    assert {types[metric] for metric in growing} == {"counter"}


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
