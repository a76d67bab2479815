"""The configuration file: every error names the file and the field."""

from pathlib import Path

import pytest

from distill_operator.settings import PLACEHOLDERS, PodSettings, Settings, SettingsError, load_settings, whole

SMALLEST = """
images: {runtime: "runtime:1"}
stagePodSecurityContext: {}
profiles: {cpu: {deviceTarget: CPU}}
"""


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "operator.yaml"
    path.write_text(text)
    return load_settings(path)


def test_the_smallest_file_has_defaults_for_the_rest(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALLEST)
    assert (settings.images.pull_policy, settings.progress_interval_seconds) == ("IfNotPresent", 15)
    assert settings.watch_namespaces == ()
    assert settings.jobs.ttl_seconds_after_finished == 86_400


def test_a_stage_that_is_not_mentioned_has_no_settings(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST).stage("generate") == PodSettings()


def test_quantities_may_be_numbers_in_yaml(tmp_path: Path) -> None:
    text = SMALLEST + "stages: {filter: {resources: {requests: {cpu: 2}, limits: {memory: 4Gi}}}}"
    resources = load(tmp_path, text).stage("filter").resources
    assert (resources.requests, resources.limits) == ({"cpu": "2"}, {"memory": "4Gi"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file: Input should be"),
        ("images: [", "is not YAML"),
        ("profiles: {cpu: {deviceTarget: CPU}}", "images: Field required"),
        ("images: {runtime: r}", "profiles: Field required"),
        ("images: {runtime: r}\nprofiles: {}", "profiles: Dictionary should have at least 1 item"),
        (SMALLEST.replace("CPU", "TPU"), "profiles.cpu.deviceTarget: Input should be 'CPU' or 'Ascend'"),
        (
            SMALLEST + "progressIntervalSeconds: 0",
            "progressIntervalSeconds: Input should be greater than or equal to 1",
        ),
        (
            SMALLEST + "jobs: {ttlSecondsAfterFinished: 5}",
            "jobs.ttlSecondsAfterFinished: Input should be greater than or equal to 600",
        ),
        (SMALLEST + "watchNamespace: [a]", "watchNamespace: Extra inputs are not permitted"),
        (
            SMALLEST.replace('"runtime:1"', '"runtime:1", pullPolicy: Sometimes'),
            "images.pullPolicy: String should match",
        ),
        (
            SMALLEST + "servers: {mine: {command: [serve, '--model={modle}']}}",
            "servers.mine.command: Value error, {modle} is no placeholder; there are model, name, port",
        ),
        (SMALLEST + "servers: {mine: {command: []}}", "servers.mine.command: Tuple should have at least 1 item"),
        (SMALLEST + "verifiers: {python: [timeit]}", "verifiers.python.0: String should match"),
        (
            SMALLEST + "stages: {pack: {resources: {requests: [cpu]}}}",
            "stages.pack.resources.requests: Input should be",
        ),
        (
            SMALLEST + "stages: {pack: {resources: {limits: {memory: 1GB}}}}",
            "stages.pack.resources.limits.memory: Value error, '1GB' is no quantity of Kubernetes",
        ),
        (
            SMALLEST.replace("CPU", "CPU, sharedMemory: 64GB"),
            "profiles.cpu.sharedMemory: Value error, '64GB' is no quantity of Kubernetes",
        ),
        (
            SMALLEST.replace("CPU", "CPU, deviceMemory: 64GB"),
            "profiles.cpu.deviceMemory: Value error, '64GB' is no quantity of Kubernetes",
        ),
        (
            SMALLEST.replace("CPU", "CPU, devicesPerNode: 8, allowedDevices: [8, 16]"),
            "profiles.cpu: Value error, allowedDevices are numbers from 1 to devicesPerNode, 8; not (8, 16)",
        ),
        (
            SMALLEST.replace("CPU", "CPU, env: {IP: {valueFrom: {field: {}}}}"),
            "profiles.cpu.env.IP.VariableSource.valueFrom.field.[key]: Input should be 'fieldRef'",
        ),
    ],
)
def test_an_error_names_the_file_and_the_field(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, text)
    assert str(tmp_path / "operator.yaml") in str(raised.value)
    assert problem in str(raised.value)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"images: Field required; .*profiles: Field required"):
        load(tmp_path, "{}")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the configuration .*: No such file or directory"):
        load_settings(tmp_path / "operator.yaml")


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("64Gi", 64 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("65536Mi", 2**36),
        ("64G", 64 * 10**9),
        ("+2k", 2000),
        (".5Ei", 2**59),
        ("5.", 5),
        ("1e3", 1000),
        ("1E-3", 1),
        ("1500m", 2),
        ("1n", 1),
        ("0", 0),
    ],
)
def test_a_quantity_has_the_value_that_kubernetes_gives_it(quantity: str, value: int) -> None:
    assert whole(quantity) == value


def test_what_is_no_quantity_has_no_value() -> None:
    with pytest.raises(ValueError, match="'64GB' is no quantity of Kubernetes"):
        whole("64GB")


def test_a_server_s_command_is_filled_in_where_it_has_placeholders(tmp_path: Path) -> None:
    words = """["a={model}", "{port}{port}", 'echo "${HOME}" {"a": 1} { x }', "{}"]"""
    server = load(tmp_path, SMALLEST + f"servers: {{mine: {{command: {words}}}}}").servers["mine"]
    values = dict.fromkeys(PLACEHOLDERS, "?") | {"model": "/data/{port}", "port": "8"}
    assert server.command_line(values) == ("a=/data/{port}", "88", 'echo "${HOME}" {"a": 1} { x }', "{}")
