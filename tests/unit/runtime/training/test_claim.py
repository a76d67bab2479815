"""Room for checkpoints, and a claim that all nodes share."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.architectures import QWEN_2_5_7B
from support.student import CONFIG, train_contract

from distill_runtime.contract import ArtifactReference, Checkpoint, Lora, Parallelism, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.volume import Volume
from distill_runtime.training import claim
from distill_runtime.training.claim import check_shared, check_space, checkpoint_bytes, exported_bytes
from distill_runtime.training.configuration import InitialState, TrainingData, build_configuration
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.lora import adapter_parameters
from distill_runtime.training.schedule import plan_schedule

DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)
PARAMETERS = 7_615_616_512
"""Of Qwen2.5-7B with an embedding of 152,064 tokens (its config.json; model.safetensors.index.json has twice that)."""

EIGHT: dict[str, Any] = {"device_target": "Ascend", "devices_per_node": 8}


@pytest.fixture
def inputs(tmp_path: Path) -> TrainingInputs:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"torch_dtype": "bfloat16"}))
    return TrainingInputs(
        model=tmp_path,
        architecture=QWEN_2_5_7B,
        data=TrainingData(tmp_path, 32768),
        schedule=plan_schedule(train_contract(DATASET), 1000),
        sequences=1000,
        labelled_tokens=1,
        end_token=None,
    )


def size(inputs: TrainingInputs, **changes: Any) -> int:
    contract = train_contract(DATASET, **changes)
    inputs = replace(inputs, schedule=plan_schedule(contract, 1000))
    schedule = inputs.schedule
    start, output = InitialState(), Path("/nowhere")
    configuration = build_configuration(contract, QWEN_2_5_7B, schedule, inputs.data, start, output, cpus=1)
    return checkpoint_bytes(contract, inputs, configuration)


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({"device_target": "Ascend"}, 1),
        ({**EIGHT, "parallelism": Parallelism(tensor=4, pipeline=2, micro_batches=8)}, 1),
        (EIGHT, 1),  # the parallel optimizer divides it
        ({"devices_per_node": 2}, 2),
    ],
)
def test_a_checkpoint_has_weights_and_two_moments_in_float32(
    inputs: TrainingInputs, changes: dict[str, Any], copies: int
) -> None:
    assert size(inputs, **changes) == copies * 12 * PARAMETERS


def test_devices_that_share_a_sequence_save_the_same_without_the_parallel_optimizer(inputs: TrainingInputs) -> None:
    changes = {**EIGHT, "parallelism": Parallelism(tensor=4, context=2)}
    off = {"parallel": {"enable_parallel_optimizer": False}}
    assert size(inputs, **changes, mindformers=off) == 2 * 12 * PARAMETERS


def test_with_adapters_it_has_the_base_once_and_moments_of_the_adapters_alone(inputs: TrainingInputs) -> None:
    lora = Lora(rank=16)
    adapters = adapter_parameters(lora, QWEN_2_5_7B)
    assert adapters == 40_370_176  # of Qwen2.5-7B with rank 16 on all projections, as PEFT prints it
    assert size(inputs, device_target="Ascend", training=Training(lora=lora)) == 4 * PARAMETERS + 12 * adapters
    assert size(inputs, **EIGHT, training=Training(lora=lora)) == 8 * (4 * PARAMETERS + 12 * adapters)


def test_an_optimizer_without_moments_of_that_size_counts_by_its_weights(inputs: TrainingInputs) -> None:
    overrides = {"optimizer": {"type": "SGD"}, "model": {"model_config": {"param_init_type": "bfloat16"}}}
    assert size(inputs, device_target="Ascend", mindformers=overrides) == 2 * PARAMETERS


def test_weights_are_exported_in_the_dtype_of_the_base(inputs: TrainingInputs) -> None:
    assert exported_bytes(inputs) == 2 * PARAMETERS


def space(inputs: TrainingInputs, root: Path, keep: int) -> None:
    contract = train_contract(DATASET, checkpoint=Checkpoint(keep=keep), device_target="Ascend")
    schedule = inputs.schedule
    start, output = InitialState(), Path("/nowhere")
    configuration = build_configuration(contract, QWEN_2_5_7B, schedule, inputs.data, start, output, cpus=1)
    check_space(contract, inputs, configuration, Volume(root))


def test_a_claim_that_is_too_small_is_refused_with_the_numbers(
    inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "free_bytes", lambda _: 250 * 10**9)
    space(inputs, tmp_path, keep=1)
    with pytest.raises(WrongInput) as refused:
        space(inputs, tmp_path, keep=2)
    assert refused.value.reason == "ClaimTooSmall"
    assert "has 250.0 GB free, but the run takes 289.4 GB: 2 checkpoints" in refused.value.message
    assert "91.4 GB each, and the exported weights, 15.2 GB" in refused.value.message


def test_a_claim_that_does_not_say_its_size_is_not_refused(
    inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "free_bytes", lambda _: None)
    space(inputs, tmp_path, keep=100)


def test_what_is_there_has_its_room(inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "free_bytes", lambda _: 250 * 10**9)
    checkpoint = tmp_path / "trained.work" / "checkpoints" / "step-00000500" / "model-1_500.safetensors"
    checkpoint.parent.mkdir(parents=True)
    with checkpoint.open("wb") as file:
        file.truncate(91 * 10**9)  # sparse
    space(inputs, tmp_path, keep=2)


@pytest.mark.parametrize(("nodes", "kind", "refused"), [(1, "ext4", False), (2, None, False), (2, "xfs", True)])
def test_several_nodes_need_a_claim_that_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int, kind: str | None, refused: bool
) -> None:
    monkeypatch.setattr(claim, "local_kind", lambda _: kind)
    contract = train_contract(DATASET, nodes=nodes)
    if not refused:
        check_shared(contract, Volume(tmp_path))
        return
    with pytest.raises(WrongInput, match="xfs, which no other node can mount") as said:
        check_shared(contract, Volume(tmp_path))
    assert said.value.reason == "ClaimNotShared"
