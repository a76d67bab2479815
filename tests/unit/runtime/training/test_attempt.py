"""Where an attempt starts, what its workers are told, and how a run is summed up."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from support.student import CONFIG, QWEN3, train_contract, write_student, write_weights

from distill_runtime.contract import ArtifactReference, ModelSource, Parallelism, TrainContract, Training
from distill_runtime.training.architecture import Architecture, read_architecture
from distill_runtime.training.attempt import (
    RunPaths,
    choose_start,
    link_base_weights,
    place_initial_weights,
    training_metrics,
    write_orders,
)
from distill_runtime.training.attempt_log import AttemptRecord
from distill_runtime.training.checkpoints import Checkpoint
from distill_runtime.training.configuration import InitialState, TrainingData
from distill_runtime.training.fence import Ground
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.schedule import plan_schedule
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord
from distill_runtime.training.weight_layout import weight_layout
from distill_runtime.training.weight_names import expected_shapes, to_mindformers

DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)
PRETRAINED = {"model": ModelSource(uri="student")}
ON_NPUS = {"device_target": "Ascend", "parallelism": Parallelism(pipeline=2, micro_batches=4)}


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    (tmp_path / "logs").mkdir()
    (tmp_path / "run.partial").mkdir()
    work = tmp_path / "run.work"
    return RunPaths(tmp_path / "run.partial", work, tmp_path / "logs", Ground(work, 1, ""))


def inputs(contract: TrainContract, model: Path = Path("/data/student")) -> TrainingInputs:
    return TrainingInputs(
        model=model,
        architecture=Architecture.model_validate(CONFIG),
        data=TrainingData(Path("/data/packed/sequences"), 128),
        schedule=plan_schedule(contract, 100),
        sequences=100,
        labelled_tokens=5000,
        end_token=None,
    )


def checkpoint(*files: str) -> Checkpoint:
    directory = Path("/data/run.partial/checkpoints/step-00000007")
    return Checkpoint(7, directory, tuple(directory / file for file in files))


def test_a_run_starts_from_what_there_is(paths: RunPaths) -> None:
    model = Path("/data/student")
    cases = [
        ({}, None, InitialState()),
        (PRETRAINED, None, InitialState(path=model)),
        (PRETRAINED | {"devices_per_node": 2}, None, InitialState(path=paths.initial)),
        (PRETRAINED | ON_NPUS | {"devices_per_node": 2}, None, InitialState(path=paths.base, reshard=True)),
    ]
    for changes, saved, expected in cases:
        contract = train_contract(DATASET, **changes)
        assert choose_start(contract, inputs(contract), paths, saved) == expected


@pytest.mark.parametrize(
    ("target", "devices", "files", "reshard"),
    [
        ("CPU", 1, ["model.safetensors"], False),
        ("CPU", 2, ["rank_0/model.safetensors", "rank_1/model.safetensors"], False),
        ("Ascend", 1, ["model.safetensors"], False),
        ("Ascend", 2, ["model.safetensors"], True),
    ],
)
def test_a_qwen3_starts_from_a_copy_as_its_network_has_the_weights(
    paths: RunPaths, tmp_path: Path, target: str, devices: int, files: list[str], reshard: bool
) -> None:
    student = write_student(tmp_path / "student", **QWEN3)
    write_weights(student)
    architecture = read_architecture(student)
    contract = train_contract(DATASET, device_target=target, devices_per_node=devices, **PRETRAINED)
    read = replace(inputs(contract, student), architecture=architecture)
    assert choose_start(contract, read, paths, None) == InitialState(path=paths.initial, reshard=reshard)
    place_initial_weights(contract, read, paths)
    placed = sorted(paths.initial.rglob("*.safetensors"))
    assert [str(file.relative_to(paths.initial)) for file in placed] == files
    for file in placed:
        assert load_file(file).keys() == weight_layout(architecture).keys()


def test_a_checkpoint_comes_before_everything(paths: RunPaths) -> None:
    contract = train_contract(DATASET, **PRETRAINED)
    one = checkpoint("model-1_7.safetensors")
    assert choose_start(contract, inputs(contract), paths, one) == InitialState(path=one.files[0], resume=True)
    two = checkpoint("rank_0/model_rank_0-1_7.safetensors", "rank_1/model_rank_1-1_7.safetensors")
    assert choose_start(contract, inputs(contract), paths, two) == InitialState(
        path=two.directory, resume="model_rank_0-1_7.safetensors"
    )


def test_each_worker_on_cpu_finds_the_base_weights_under_its_rank(paths: RunPaths, tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    weights = write_weights(student)
    contract = train_contract(DATASET, devices_per_node=2, **PRETRAINED)
    for _ in range(2):  # a second attempt finds what the first one left
        place_initial_weights(contract, inputs(contract, student), paths)
    for rank in (0, 1):
        placed = load_file(paths.initial / f"rank_{rank}" / "model.safetensors")
        assert placed.keys() == {to_mindformers(name) for name in weights}
        assert all(np.array_equal(placed[to_mindformers(name)], array) for name, array in weights.items())


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A base in several files, with another one that has none of its weights, and without an index."""
    student = write_student(tmp_path / "student")
    weights = write_weights(student)
    (student / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:9], names[9:]), start=1):
        save_file({name: weights[name] for name in part}, student / f"model-{number}.safetensors")
    save_file({"rotary.inv_freq": np.ones(4, np.float32)}, student / "consolidated.safetensors")
    return student


def test_base_weights_are_linked_where_they_are_cut_up(paths: RunPaths, sharded: Path) -> None:
    contract = train_contract(DATASET, devices_per_node=2, **PRETRAINED | ON_NPUS)
    for _ in range(2):  # a second attempt finds what the first one left
        link_base_weights(inputs(contract, sharded), paths)
        (paths.base / "param_name_map.json").touch()
    linked = {file.name: load_file(file) for file in paths.base.glob("*.safetensors")}
    assert linked.keys() == {"model-1.safetensors", "model-2.safetensors"}
    index = json.loads((paths.base / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, arrays in linked.items() for name in arrays}
    assert index["weight_map"].keys() == expected_shapes(Architecture.model_validate(CONFIG)).keys()
    assert index["metadata"]["total_size"] == sum(
        array.nbytes for arrays in linked.values() for array in arrays.values()
    )


def test_one_file_needs_no_index(paths: RunPaths, tmp_path: Path) -> None:
    student = write_student(tmp_path / "student")
    write_weights(student)
    link_base_weights(inputs(train_contract(DATASET), student), paths)
    assert [file.name for file in paths.base.iterdir()] == ["model.safetensors"]


@pytest.mark.mindspore
def test_mindformers_finds_each_weight_and_leaves_the_base_alone(paths: RunPaths, sharded: Path) -> None:
    from mindformers.models.llama import LlamaForCausalLM  # noqa: PLC0415
    from mindformers.utils.safetensors.convert_safetensors import _convert_index_json  # noqa: PLC0415

    before = sorted(sharded.iterdir())
    link_base_weights(inputs(train_contract(DATASET), sharded), paths)
    _convert_index_json(str(paths.base), str(paths.base), LlamaForCausalLM.convert_map_dict, False)
    assert sorted(sharded.iterdir()) == before
    assert json.loads((paths.base / "param_name_map.json").read_text()) == {
        to_mindformers(name): file.name for file in paths.base.glob("*.safetensors") for name in load_file(file)
    }


def test_the_worker_that_knows_the_loss_reports(paths: RunPaths) -> None:
    contract = train_contract(DATASET, devices_per_node=8, **ON_NPUS)
    orders = json.loads(write_orders(contract, inputs(contract), paths, None).read_text())
    assert orders["workers"] == 8
    assert orders["reportingRank"] == 4  # the first of the last stage
    assert orders["summedLosses"] == 4
    assert yaml.safe_load(Path(orders["configuration"]).read_text())["parallel_config"]["pipeline_stage"] == 2


def test_a_resumed_worker_is_told_the_step(paths: RunPaths) -> None:
    contract = train_contract(DATASET)
    path = write_orders(contract, inputs(contract), paths, checkpoint("model-1_7.safetensors"))
    orders = json.loads(path.read_text())
    assert (orders["resumeStep"], orders["reportingRank"], orders["summedLosses"]) == (7, 0, 1)
    assert yaml.safe_load(Path(orders["configuration"]).read_text())["resume_training"] is True


def test_what_every_attempt_lost_is_added_up(paths: RunPaths) -> None:
    contract = train_contract(DATASET, training=Training(epochs=1, batch_size=4))
    records = [
        StepRecord(step=step, epoch=1, loss=float(30 - step), learning_rate=1e-4, seconds=9.0 if step == 1 else 0.5)
        for step in range(1, 26)
    ]
    at = datetime(2026, 1, 2, tzinfo=UTC)
    attempts = [
        AttemptRecord(
            attempt=attempt,
            resumed_from_step=resumed,
            lost_steps=lost,
            began_at=at,
            ended_at=at + timedelta(minutes=5),
            training_seconds=120,
            lost_seconds=30.0 * lost,
        )
        for attempt, (resumed, lost) in enumerate([(0, 3), (7, 5), (14, 0)], start=1)
    ]
    metrics = training_metrics(records, attempts, inputs(contract), StepWork(400, 2e9, 1e10))
    assert metrics == {
        "loss": 9.5,  # the mean of the last ten
        "steps": 25,
        "tokensPerSecond": 400 / 0.5,  # of the middle step
        "modelFlopsUtilization": 0.4,
        "trainedTokens": 5000,
        "resumedFromStep": 14,
        "lostSteps": 8,
        "computingDeviceMinutes": 6.0,
        "waitingDeviceMinutes": 9.0,
        "lostDeviceMinutes": 4.0,
    }
