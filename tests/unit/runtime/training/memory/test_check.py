"""Runs that cannot fit their devices are refused, with the parallelism that would."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis.strategies import integers, sampled_from
from support.student import train_contract
from unit.runtime.training.test_configuration import DATASET, QWEN_2_5_7B

from distill_runtime.contract import ModelSource, Parallelism, Recompute, TrainContract, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.configuration import TrainingData
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.memory.check import check_memory
from distill_runtime.training.memory.plan import GIB
from distill_runtime.training.schedule import plan_schedule

SEQUENCES = 100_000
FIT = re.compile(
    r"parallelism \{tensor: (\d+), pipeline: (\d+), context: (\d+), sequence: (\w+), microBatches: (\d+)\}"
)


def asked(parallelism: dict[str, Any], **changes: Any) -> TrainContract:
    values: dict[str, Any] = {
        "model": ModelSource(uri="Qwen2.5-7B"),
        "training": Training(),
        "parallelism": Parallelism(**parallelism),
        "device_target": "Ascend",
        "devices_per_node": 8,
        "device_memory": 64 * GIB,
        **changes,
    }
    return train_contract(DATASET, **values)


def inputs_of(contract: TrainContract, sequence_length: int = 32768) -> TrainingInputs:
    return TrainingInputs(
        model=Path("/data/Qwen2.5-7B"),
        architecture=QWEN_2_5_7B,
        data=TrainingData(Path("/data/packed"), sequence_length),
        schedule=plan_schedule(contract, SEQUENCES),
        sequences=SEQUENCES,
        labelled_tokens=1,
        end_token=None,
    )


def refusal(contract: TrainContract, sequence_length: int = 32768) -> str:
    with pytest.raises(WrongInput) as refused:
        check_memory(contract, inputs_of(contract, sequence_length))
    assert refused.value.reason == "DeviceMemoryTooSmall"
    return refused.value.message


def recommended(message: str) -> Parallelism:
    found = FIT.search(message)
    assert found is not None, message
    tensor, pipeline, context, sequence, micro_batches = found.groups()
    return Parallelism(
        tensor=int(tensor),
        pipeline=int(pipeline),
        context=int(context),
        sequence=sequence == "true",
        micro_batches=int(micro_batches),
    )


def test_parallelism_left_out_at_32k_is_refused_with_every_item() -> None:
    message = refusal(asked({}))
    assert message.startswith(
        "a device needs about 112.6 GiB in the loss over the vocabulary (weights 5.3, copies 25.3,"
    )
    assert "temporary 65.0" in message
    assert "MindSpore has 58.0 GiB: of the profile's deviceMemory of 64.0," in message


@pytest.mark.parametrize(
    "parallelism", [{}, {"context": 2}, {"pipeline": 2, "micro_batches": 2}, {"pipeline": 4, "micro_batches": 8}]
)
def test_what_is_recommended_is_accepted(parallelism: dict[str, Any]) -> None:
    better = recommended(refusal(asked(parallelism)))
    contract = asked({}).model_copy(update={"parallelism": better})
    estimate = check_memory(contract, inputs_of(contract))
    assert estimate is not None
    assert estimate.pool <= 58 * GIB


@given(
    tensor=sampled_from([1, 2, 4]),
    pipeline=sampled_from([1, 2, 4]),
    memory=integers(12, 64),
    nodes=sampled_from([1, 2, 8]),
)
@settings(max_examples=40)
def test_every_recommendation_is_accepted(tensor: int, pipeline: int, memory: int, nodes: int) -> None:
    parallelism = {"tensor": tensor, "pipeline": pipeline, "micro_batches": pipeline}
    assume(tensor * pipeline <= 8 * nodes)
    contract = asked(parallelism, device_memory=memory * GIB, nodes=nodes)
    try:
        check_memory(contract, inputs_of(contract))
    except WrongInput as refused:
        message = refused.message
    else:
        return
    if FIT.search(message) is None:
        assert "No other parallelism fits these devices. A smaller" in message
        return
    more = re.search(r"accelerator\.nodes: (\d+)", message)
    update = {"parallelism": recommended(message), "nodes": int(more[1]) if more else nodes}
    better = contract.model_copy(update=update)
    estimate = check_memory(better, inputs_of(better))
    assert estimate is not None
    assert estimate.total <= memory * GIB


def test_as_little_is_changed_as_can_be() -> None:
    better = recommended(refusal(asked({"pipeline": 4, "micro_batches": 8})))
    assert (better.pipeline, better.micro_batches, better.sequence) == (4, 8, False)


def test_it_says_how_many_devices_would_do_where_these_do_not() -> None:
    message = refusal(asked({}, device_memory=24 * GIB, devices_per_node=4))
    assert "No other parallelism fits these devices. " in message
    nodes = re.search(r"(\d+) devices \(accelerator\.nodes: (\d+)\) are enough", message)
    assert nodes is not None
    contract = asked({}, device_memory=24 * GIB, devices_per_node=4, nodes=int(nodes[2]))
    assert int(nodes[1]) == 4 * int(nodes[2]) > 4
    contract = contract.model_copy(update={"parallelism": recommended(message)})
    assert check_memory(contract, inputs_of(contract)) is not None


def test_it_says_if_nothing_would_do() -> None:
    message = refusal(asked({}, device_memory=4 * GIB))
    assert message.endswith("No other parallelism fits these devices. A smaller pack.sequenceLength needs less, too")


def test_recompute_that_was_turned_off_is_named_first() -> None:
    overrides = {"recompute_config": {"recompute": False}}
    message = refusal(asked({"tensor": 4, "pipeline": 2, "micro_batches": 8}, mindformers=overrides))
    assert ". Take out mindformers.recompute_config, and " in message


def test_so_is_recompute_that_was_turned_off_by_its_field() -> None:
    training = Training(recompute=Recompute(layers="none"))
    message = refusal(asked({"tensor": 4, "pipeline": 2, "micro_batches": 8}, training=training))
    assert ". Take out training.recompute, and " in message


def test_attention_that_was_split_is_named_where_its_mask_is_too_large() -> None:
    """At 64k tokens a matrix of integers takes 16 GiB, and 4 GiB as bytes."""
    parallelism = {"tensor": 4, "context": 2, "sequence": True, "context_attention": "split"}
    message = refusal(asked(parallelism, device_memory=48 * GIB), sequence_length=65536)
    assert ". With parallelism.contextAttention: whole, " in message


@pytest.mark.parametrize(
    ("memory", "sequence_length", "recommended"),
    [
        (40, 32768, "context: 2, sequence: false, microBatches: 1, contextAttention: split} ("),
        (24, 2048, "context: 1, sequence: false, microBatches: 2} ("),  # nothing to split among
    ],
)
def test_what_is_recommended_instead_of_split_attention(memory: int, sequence_length: int, recommended: str) -> None:
    contract = asked({"context": 8, "context_attention": "split"}, device_memory=memory * GIB)
    assert recommended in refusal(contract, sequence_length)


def test_a_smaller_batch_is_named_if_it_is_enough() -> None:
    contract = asked({"tensor": 4, "sequence": True}, training=Training(batch_size=8))
    smaller = re.search(r"training\.batchSize: (\d+)", refusal(contract))
    assert smaller is not None
    assert 1 <= int(smaller[1]) < 8
    lower = contract.model_copy(update={"training": Training(batch_size=int(smaller[1]))})
    assert check_memory(lower, inputs_of(lower)) is not None


def test_what_may_fit_is_tried_and_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Tensor 2 and data 4 at 32k: 64 of 58 GiB, within what the estimate may be off."""
    contract = asked({"tensor": 2})
    with caplog.at_level(logging.WARNING):
        assert check_memory(contract, inputs_of(contract)) is not None
    assert "a device needs about 64.4 GiB" in caplog.text
    assert "so it is tried" in caplog.text


def test_what_fits_is_said_nothing_of(caplog: pytest.LogCaptureFixture) -> None:
    contract = asked({"tensor": 4, "pipeline": 2, "sequence": True, "micro_batches": 8})
    with caplog.at_level(logging.WARNING):
        assert check_memory(contract, inputs_of(contract)) is not None
    assert not caplog.text


def test_max_device_memory_is_the_limit_where_it_is_less() -> None:
    message = refusal(asked({"tensor": 4}, mindformers={"context": {"max_device_memory": "20GB"}}))
    assert "MindSpore has 20.0 GiB" in message


def test_without_the_memory_of_a_device_it_is_only_estimated() -> None:
    contract = asked({}, device_memory=None)
    estimate = check_memory(contract, inputs_of(contract))
    assert estimate is not None
    assert estimate.total > 64 * GIB


def test_on_cpu_there_is_no_estimate() -> None:
    contract = asked({}, device_target="CPU")
    assert check_memory(contract, inputs_of(contract)) is None
