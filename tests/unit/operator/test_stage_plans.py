"""Which stages each kind has, and what determines where their artifacts go."""

from itertools import takewhile
from typing import Any

import pytest
from unit.operator.builders import DIGEST, SETTINGS, known, ready, resource, succeeded_stage

from distill_operator.observation import ResourceKey
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Invalid, Stage, Waiting
from distill_operator.settings import Settings, Verifiers
from distill_runtime.contract import FilterContract, FilterParameters, GenerateContract, RowSource, TrainContract

DATASET_STAGES = ("generate", "filter", "pack")
NPU = {"profile": "ascend-910b"}
TEACHER: dict[str, Any] = {"endpoints": ["http://teacher/v1"], "model": "deepseek-r1"}
PROMPTS: dict[str, Any] = {"uri": "math/prompts.jsonl"}
ROWS: dict[str, Any] = {"source": {"rows": {"uri": "math/rows"}}, "teacher": None}
PACKED: dict[str, Any] = {"source": {"packed": {"uri": "math/packed"}}, "teacher": None, "pack": None}


def plan(
    kind: str, stage: str, spec: dict[str, Any] | None = None, dependency: Any = None, settings: Settings = SETTINGS
) -> Stage | Waiting | Invalid:
    planned = resource(kind, spec)
    before = takewhile(lambda name: name != stage, KIND_PLANS[kind].stage_names(planned, settings))
    finished = {name: succeeded_stage(name) for name in before}
    return KIND_PLANS[kind].plan_stage(
        planned, stage, finished, known(kind, dependency) if dependency else {}, settings
    )


def allowing(*entry_points: str) -> Settings:
    return SETTINGS.model_copy(update={"verifiers": Verifiers(python=entry_points)})


def output(kind: str, stage: str, spec: dict[str, Any] | None = None, dependency: Any = None) -> str:
    planned = plan(kind, stage, spec, dependency)
    assert isinstance(planned, Stage)
    return planned.contract.output


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("DistillDataset", None, DATASET_STAGES),
        ("DistillDataset", ROWS, ("filter", "pack")),
        ("DistillDataset", {"select": {}}, ("generate", "filter", "select", "pack")),
        ("DistillDataset", {**ROWS, "select": {}}, ("filter", "select", "pack")),
        ("DistillDataset", PACKED, ("pack",)),
        ("FinetuneRun", None, ("train",)),
        ("FinetuneRun", {"accelerator": NPU}, ("train-preflight", "train", "export")),
        ("FinetuneRun", {"accelerator": {"profile": "unknown"}}, ("train",)),
        ("EvalRun", None, ("eval",)),
        ("EvalRun", {"accelerator": NPU}, ("eval-preflight", "eval")),
        ("EvalRun", {"compareWith": [{"evalRef": {"name": "base"}}]}, ("eval", "compare")),
        ("EvalRun", {"accelerator": NPU, "gate": {"minScore": 80}}, ("eval-preflight", "eval", "compare")),
        ("EvalRun", {"target": {"endpoint": {"url": "http://x", "model": "m"}}, "accelerator": None}, ("eval",)),
    ],
)
def test_stages_of_each_kind(kind: str, spec: dict[str, Any] | None, expected: tuple[str, ...]) -> None:
    """Wrong input is found before devices are held: a preflight comes first where a profile has devices."""
    assert KIND_PLANS[kind].stage_names(resource(kind, spec), SETTINGS) == expected


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("DistillDataset", None, []),
        ("FinetuneRun", None, [("DistillDataset", "math")]),
        ("EvalRun", None, [("FinetuneRun", "student")]),
        ("EvalRun", {"target": {"model": {"uri": "models/qwen"}}}, []),
        (
            "EvalRun",
            {
                "compareWith": [{"evalRef": {"name": "base"}}, {"name": "paper", "score": 90, "problems": 500}],
                "gate": {"noWorseThan": [{"evalRef": {"name": name}, "margin": 1} for name in ("last", "base")]},
            },
            [("FinetuneRun", "student"), ("EvalRun", "base"), ("EvalRun", "last")],
        ),
    ],
)
def test_dependencies_of_each_kind(kind: str, spec: dict[str, Any] | None, expected: list[tuple[str, str]]) -> None:
    keys = KIND_PLANS[kind].dependencies(resource(kind, spec))
    assert keys == tuple(ResourceKey(kind, "team-a", name) for kind, name in expected)


@pytest.mark.parametrize(
    ("filtering", "judged"),
    [
        ({}, False),
        ({"minAcceptanceRate": 0.3}, True),
        ({"minAcceptanceRate": 0.3, "verifier": "none"}, False),
        ({"minAcceptanceRate": 0.3, "verifier": "majority"}, False),
    ],
)
def test_generate_judges_its_answers_where_too_few_may_be_right(filtering: dict[str, Any], judged: bool) -> None:
    planned = plan("DistillDataset", "generate", {"filter": filtering})
    assert isinstance(planned, Stage)
    assert isinstance(planned.contract, GenerateContract)
    assert (planned.contract.forecast is not None) is judged


class TestGeneratePath:
    @pytest.mark.parametrize(
        "teacher",
        [
            {"endpoints": ["http://elsewhere/v1", "http://more/v1"]},
            {"maxConcurrentRequests": 7},
            {"requestTimeoutSeconds": 60},
            {"maxAttempts": 2},
            {"unavailableTimeoutSeconds": 60},
            {"apiKeySecretRef": {"name": "teacher", "key": "token"}},
        ],
    )
    def test_how_the_teacher_is_reached_does_not_matter(self, teacher: dict[str, Any]) -> None:
        changed = output("DistillDataset", "generate", {"teacher": {**TEACHER, **teacher}})
        assert changed == output("DistillDataset", "generate")

    def test_how_the_answers_are_judged_does_not_matter(self) -> None:
        changed = output("DistillDataset", "generate", {"filter": {"minAcceptanceRate": 0.3, "verifier": "exact"}})
        assert changed == output("DistillDataset", "generate")

    @pytest.mark.parametrize(
        "spec",
        [
            {"teacher": {**TEACHER, "model": "other"}},
            {"teacher": {**TEACHER, "systemPrompt": "Think."}},
            {"teacher": {**TEACHER, "sampling": {"temperature": 0.1}}},
            {"teacher": {**TEACHER, "additionalModels": [{"model": "qwq", "endpoints": ["http://qwq/v1"]}]}},
            {"source": {"prompts": {**PROMPTS, "limit": 3}}},
        ],
    )
    def test_what_is_asked_does(self, spec: dict[str, Any]) -> None:
        assert output("DistillDataset", "generate", spec) != output("DistillDataset", "generate")

    def test_a_default_that_is_written_out_is_the_same(self) -> None:
        spec = {"teacher": {**TEACHER, "sampling": {"temperature": 0.6}}}
        assert output("DistillDataset", "generate", spec) == output("DistillDataset", "generate")


@pytest.mark.parametrize("stage", ["filter", "pack"])
def test_a_later_stage_s_path_depends_on_its_own_parameters_alone(stage: str) -> None:
    own = {"filter": {"filter": {"keep": "first"}}, "pack": {"pack": {"tokenizer": {"uri": "m"}, "sequenceLength": 64}}}
    other = {"filter": own["pack"], "pack": {"suspend": True}}
    assert output("DistillDataset", stage, own[stage]) != output("DistillDataset", stage)
    assert output("DistillDataset", stage, other[stage]) == output("DistillDataset", stage)


def test_paths_say_whose_they_are() -> None:
    spec = {"storage": {"claimName": "distill", "path": "somewhere/else"}}
    assert output("DistillDataset", "generate", spec).startswith("somewhere/else/team-a/math/generate-")


def test_filter_reads_what_generate_wrote() -> None:
    planned = plan("DistillDataset", "filter")
    assert isinstance(planned, Stage)
    assert planned.contract.to_json()["input"] == output("DistillDataset", "generate")


@pytest.mark.parametrize("spec", [None, ROWS])
def test_pack_reads_the_artifact_of_filter_by_its_digest(spec: dict[str, Any] | None) -> None:
    planned = plan("DistillDataset", "pack", spec)
    assert isinstance(planned, Stage)
    assert planned.contract.to_json()["input"] == {"uri": "npu-distill/filter", "digest": DIGEST}


def test_a_selection_is_made_of_what_filter_kept_and_packed() -> None:
    spec: dict[str, Any] = {"select": {"maxPassRate": 0.9}}
    planned, packed = plan("DistillDataset", "select", spec), plan("DistillDataset", "pack", spec)
    assert isinstance(planned, Stage)
    assert isinstance(packed, Stage)
    assert planned.contract.to_json()["input"] == {"uri": "npu-distill/filter", "digest": DIGEST}
    assert packed.contract.to_json()["input"] == {"uri": "npu-distill/select", "digest": DIGEST}


def test_another_selection_generates_and_filters_nothing_anew() -> None:
    specs: list[dict[str, Any]] = [{"select": {"limit": limit}} for limit in (10, 20)]
    for stage, directories in (("generate", 1), ("filter", 1), ("select", 2)):
        assert len({output("DistillDataset", stage, spec) for spec in specs}) == directories
    assert output("DistillDataset", "filter", specs[0]) == output("DistillDataset", "filter")


def test_filter_reads_the_rows_of_the_source() -> None:
    spec = {**ROWS, "source": {"rows": {"uri": "math/rows", "limit": 7}}, "filter": {"verifier": "recorded"}}
    planned = plan("DistillDataset", "filter", spec)
    assert isinstance(planned, Stage)
    contract = planned.contract
    assert isinstance(contract, FilterContract)
    assert contract.input == RowSource(uri="math/rows", limit=7)
    assert contract.filter == FilterParameters(verifier="recorded")


def test_pack_reads_the_sequences_of_the_source() -> None:
    spec = {**PACKED, "source": {"packed": {"uri": "math/packed", "tokenizer": {"uri": "models/qwen"}}}}
    planned = plan("DistillDataset", "pack", spec)
    assert isinstance(planned, Stage)
    assert planned.contract.to_json()["input"] == {"uri": "math/packed", "tokenizer": {"uri": "models/qwen"}}
    assert planned.contract.output != output("DistillDataset", "pack", PACKED)


@pytest.mark.parametrize(
    ("stage", "spec", "credentials"),
    [("filter", ROWS, "hub"), ("pack", ROWS, None), ("pack", PACKED, "hub"), ("pack", {}, None)],
)
def test_credentials_go_where_sources_are_read(stage: str, spec: dict[str, Any], credentials: str | None) -> None:
    planned = plan("DistillDataset", stage, {**spec, "credentialsSecretRef": {"name": "hub"}})
    assert isinstance(planned, Stage)
    assert planned.credentials == credentials


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("generate", "npu-distill/team-a/math/generate-03bfeddfc3f3"),
        ("filter", "npu-distill/team-a/math/filter-38fc38bb8c59"),
        ("pack", "npu-distill/team-a/math/pack-c5e8bff7d364"),
    ],
)
def test_what_was_asked_before_there_were_other_sources_keeps_its_path(stage: str, expected: str) -> None:
    assert output("DistillDataset", stage) == expected


@pytest.mark.parametrize(
    ("stage", "spec", "words"),
    [
        ("generate", {"teacher": None}, "set source.prompts and teacher"),
        ("generate", {"source": {}}, "set source.prompts and teacher"),
        ("filter", {"source": {}}, "set source.prompts and teacher"),
        ("pack", {"pack": None}, "spec.pack is missing"),
    ],
)
def test_a_dataset_that_slipped_through_admission(stage: str, spec: dict[str, Any], words: str) -> None:
    planned = plan("DistillDataset", stage, spec)
    assert isinstance(planned, Invalid)
    assert planned.reason == "InvalidSpec"
    assert words in planned.message


PYTHON = {"filter": {"verifier": "python", "entryPoint": "checks.chemistry:right"}}


@pytest.mark.parametrize("stage", ["generate", "filter"])
@pytest.mark.parametrize(("allowed", "words"), [((), "allows none"), (("checks:units",), "allows checks:units")])
def test_code_that_is_not_allowed_is_not_run(stage: str, allowed: tuple[str, ...], words: str) -> None:
    planned = plan("DistillDataset", stage, PYTHON, settings=allowing(*allowed))
    assert isinstance(planned, Invalid)
    assert planned.reason == "VerifierNotAllowed"
    assert f"filter.entryPoint 'checks.chemistry:right' may not be called; this operator {words}" in planned.message
    assert "verifiers.python in the chart's values" in planned.message


@pytest.mark.parametrize("stage", ["generate", "filter"])
def test_code_that_is_allowed_is(stage: str) -> None:
    planned = plan("DistillDataset", stage, PYTHON, settings=allowing("checks:units", "checks.chemistry:right"))
    assert isinstance(planned, Stage)


def test_an_evaluation_obeys_the_same_list() -> None:
    spec = {"protocol": {"verifier": "python", "entryPoint": "checks.chemistry:right"}}
    refused = plan("EvalRun", "eval", spec, ready("FinetuneRun"), allowing("checks:units"))
    assert isinstance(refused, Invalid)
    assert refused.message.startswith("protocol.entryPoint 'checks.chemistry:right' may not be called")
    assert isinstance(plan("EvalRun", "eval", spec, ready("FinetuneRun"), allowing("checks.chemistry:right")), Stage)


def test_what_is_filtered_is_packed_whatever_is_allowed_now() -> None:
    assert isinstance(plan("DistillDataset", "pack", PYTHON, settings=allowing()), Stage)


@pytest.mark.parametrize(
    "spec",
    [{"checkpoint": {"everySteps": 7}}, {"restarts": {"max": 1}}, {"priorityClassName": "high"}],
)
def test_what_does_not_change_the_weights_does_not_change_their_path(spec: dict[str, Any]) -> None:
    assert output("FinetuneRun", "train", spec, ready("DistillDataset")) == output(
        "FinetuneRun", "train", dependency=ready("DistillDataset")
    )


@pytest.mark.parametrize(
    ("protocol", "same"),
    [({"maxConcurrentRequests": 7}, True), ({"requestTimeoutSeconds": 60}, True), ({"temperature": 0.1}, False)],
)
def test_an_evaluation_s_path_depends_on_what_is_asked_not_how_fast(protocol: dict[str, Any], same: bool) -> None:
    changed = output("EvalRun", "eval", {"protocol": protocol}, ready("FinetuneRun"))
    assert (changed == output("EvalRun", "eval", dependency=ready("FinetuneRun"))) is same


def test_training_is_spread_over_pods_and_restarted_by_attempts() -> None:
    spec = {"accelerator": {"profile": "ascend-910b", "nodes": 2, "devicesPerNode": 8}, "restarts": {"max": 5}}
    planned = plan("FinetuneRun", "train", spec, ready("DistillDataset"))
    assert isinstance(planned, Stage)
    assert (planned.outline.pods, planned.outline.backoff_limit, planned.outline.max_attempts) == (2, 0, 6)
    assert planned.devices == 8


@pytest.mark.parametrize("kind", ["FinetuneRun", "EvalRun"])
@pytest.mark.parametrize(
    ("accelerator", "reason", "words"),
    [
        (
            {"profile": "tpu"},
            "UnknownProfile",
            "accelerator.profile 'tpu' is not configured; this operator has ascend-910b, cpu",
        ),
        (
            {"profile": "ascend-910b", "devicesPerNode": 16},
            "TooManyDevices",
            "accelerator.devicesPerNode is 16, but a node",
        ),
    ],
)
def test_an_accelerator_that_is_not_configured(kind: str, accelerator: dict[str, Any], reason: str, words: str) -> None:
    dependency = ready({"FinetuneRun": "DistillDataset", "EvalRun": "FinetuneRun"}[kind])
    planned = plan(kind, "train", {"accelerator": accelerator}, dependency)
    assert isinstance(planned, Invalid)
    assert planned.reason == reason
    assert words in planned.message


@pytest.mark.parametrize("kind", ["FinetuneRun", "EvalRun"])
@pytest.mark.parametrize(("devices", "allowed"), [(1, True), (3, False), (4, True)])
def test_a_number_of_devices_that_a_node_does_not_give(kind: str, devices: int, allowed: bool) -> None:
    profile = SETTINGS.profiles["ascend-910b"].model_copy(update={"allowed_devices": (4, 2, 1)})
    settings = SETTINGS.model_copy(update={"profiles": {"ascend-910b": profile}})
    dependency = ready({"FinetuneRun": "DistillDataset", "EvalRun": "FinetuneRun"}[kind])
    planned = plan(kind, "train", {"accelerator": {**NPU, "devicesPerNode": devices}}, dependency, settings)
    if allowed:
        assert isinstance(planned, Stage)
    else:
        assert isinstance(planned, Invalid)
        assert planned.reason == "DevicesNotAllowed"
        assert (
            "devicesPerNode is 3, but of a node of profile 'ascend-910b' a Pod may have only 1, 2, 4" in planned.message
        )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"accelerator": None}, "spec.accelerator is missing"),
        ({"target": {}}, "set one of finetuneRef, model, endpoint"),
    ],
)
def test_an_evaluation_that_slipped_through_admission(spec: dict[str, Any], words: str) -> None:
    planned = plan("EvalRun", "eval", spec)
    assert isinstance(planned, Invalid)
    assert planned.reason == "InvalidSpec"
    assert words in planned.message


def test_an_evaluation_of_a_model_directory_waits_for_nothing() -> None:
    planned = plan("EvalRun", "eval", {"target": {"model": {"uri": "models/qwen"}}})
    assert isinstance(planned, Stage)
    assert planned.contract.to_json()["target"]["uri"] == "models/qwen"  # type: ignore[index]


@pytest.mark.parametrize(("memory", "told", "peak"), [("64Gi", 64 * 2**30, 353.8944), ("", None, None)])
def test_a_training_is_told_what_a_device_has_which_changes_nothing_of_its_artifact(
    memory: str, told: int | None, peak: float | None
) -> None:
    device = {"device_memory": memory, "peak_teraflops": peak}
    profile = SETTINGS.profiles["ascend-910b"].model_copy(update=device)
    settings = SETTINGS.model_copy(update={"profiles": {**SETTINGS.profiles, "ascend-910b": profile}})
    spec = {"accelerator": NPU}
    for stage in ("train-preflight", "train", "export"):
        planned = plan("FinetuneRun", stage, spec, ready("DistillDataset"), settings)
        assert isinstance(planned, Stage)
        assert isinstance(planned.contract, TrainContract)
        assert (planned.contract.device_memory, planned.contract.peak_teraflops) == (told, peak)
        assert planned.contract.output == output("FinetuneRun", stage, spec, ready("DistillDataset"))
