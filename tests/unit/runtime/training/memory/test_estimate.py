"""The items of the estimate, each by hand for one network, and how they move with the configuration."""

from typing import Any, ClassVar

import pytest
from support.architectures import QWEN_3_8B
from support.student import train_contract
from unit.runtime.training.test_configuration import DATASET, QWEN_2_5_7B, build

from distill_runtime.contract import Lora, ModelSource, Parallelism, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.configuration import InitialState
from distill_runtime.training.memory.estimate import Estimate, estimate_memory
from distill_runtime.training.memory.plan import GIB, read_plan

LAYER = 2 * 3584 * (3584 + 512) + 3 * 3584 * 18944
VOCABULARY = 3584 * 152064
TOKENS = 32768
DEFAULTS = Training()


def estimate(
    parallelism: dict[str, Any] | None = None,
    mindformers: dict[str, Any] | None = None,
    sequence_length: int = TOKENS,
    devices: int = 8,
    training: Training = DEFAULTS,
    architecture: Architecture = QWEN_2_5_7B,
) -> Estimate:
    contract = train_contract(
        DATASET,
        model=ModelSource(uri="base"),
        training=training,
        parallelism=Parallelism(**(parallelism or {})),
        device_target="Ascend",
        devices_per_node=devices,
        mindformers=mindformers or {},
    )
    return estimate_memory(read_plan(build(contract, architecture, sequence_length, InitialState())))


TENSOR_4_PIPELINE_2 = {"tensor": 4, "pipeline": 2, "sequence": True, "micro_batches": 8}


def test_every_item_of_qwen_2_5_7b_at_tensor_4_and_pipeline_2() -> None:
    """The last stage, with 14 layers, the projection to logits, one micro-batch in flight, and the loss."""
    found = estimate(TENSOR_4_PIPELINE_2)
    parameters = (14 * LAYER + VOCABULARY) // 4
    assert (found.stage, found.moment) == (1, "the loss over the vocabulary")
    assert found.weights == found.gradients == 4 * parameters
    assert found.optimizer == 8 * parameters
    assert found.copies == 2 * (LAYER + VOCABULARY) // 4  # all layers are computed again: of one at a time
    assert found.activations == 14 * 2 * TOKENS * 3584 // 4 + 2 * TOKENS * 3584
    assert found.temporary == 14 * TOKENS * 152064 // 4
    assert found.mask == 2048 * 2048
    assert found.communication == 3 * 400 * 2**20  # all devices, tensor, pipeline
    assert found.total == found.pool + found.communication + 3 * GIB


def test_of_what_is_frozen_there_are_the_weights_alone() -> None:
    """With adapters of rank 16 on queries and values: 16 (3584 + 3584) + 16 (3584 + 512) parameters a layer."""
    lora = Lora(rank=16, targets=("q_proj", "v_proj"))
    found = estimate({"tensor": 4}, devices=4, training=Training(lora=lora))
    base, adapters = (28 * LAYER + 2 * VOCABULARY) // 4, 28 * 16 * (7168 + 4096)
    whole = estimate({"tensor": 4}, devices=4)
    assert found.weights == 4 * (base + adapters)
    assert (found.optimizer, found.gradients) == (8 * adapters, 0)
    assert whole.pool - found.pool == 8 * base - 12 * adapters
    shared_out = estimate({"tensor": 4}, devices=8, training=Training(lora=lora))
    assert shared_out.weights == 4 * (base + adapters // 2)  # the parallel optimizer has to do with what is trained


def test_a_layer_that_is_not_computed_again_keeps_all_its_tensors() -> None:
    kept = estimate(TENSOR_4_PIPELINE_2, {"recompute_config": {"recompute": [13, 14]}})
    again = estimate(TENSOR_4_PIPELINE_2, {"recompute_config": {"recompute": [14, 14]}})
    assert again.stage == kept.stage == 1
    first = estimate(TENSOR_4_PIPELINE_2, {"recompute_config": {"recompute": [0, 14]}})
    by_hand = 2 * TOKENS * (2 * 3584 // 4 + 2 * 3584 + 2 * 3584 // 4 + 2 * 512 // 4 + 4 * 18944 // 4)
    assert (first.stage, first.activations) == (0, 2 * 14 * (by_hand + 64 * TOKENS * 7))


class TestQwen3:
    """Of 0.6 B parameters: heads that are twice as wide together as the network, a norm on each, residuals in float32,
    one table for embedding and logits."""

    SMALL = QWEN_3_8B.model_copy(
        update={
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "tie_word_embeddings": True,
        }
    )

    def test_its_parameters(self) -> None:
        layer = 2 * 1024 * (2048 + 1024) + 3 * 1024 * 3072
        found = estimate({"tensor": 2}, architecture=self.SMALL, devices=2)
        assert found.weights == 4 * (28 * layer + 1024 * 151936) // 2

    def test_what_a_layer_keeps(self) -> None:
        kept = estimate(TENSOR_4_PIPELINE_2, {"recompute_config": {"recompute": False}}, architecture=self.SMALL)
        attention = 2 * 2048 // 4 + 2 * 1024 // 4 + (2048 + 1024) // 4
        by_hand = 4 * 2 * 1024 // 4 + 2 * (2 * 1024 + attention + 4 * 3072 // 4)
        output = 2 * TOKENS * 1024
        assert (kept.stage, kept.activations) == (1, 14 * TOKENS * (by_hand + 64 * 4) + output)

    def test_a_context_rank_has_its_own_queries(self) -> None:
        one, two = (
            estimate(
                {"tensor": 2, "context": context},
                {"recompute_config": {"recompute": False}},
                devices=2 * context,
                architecture=self.SMALL,
            )
            for context in (1, 2)
        )
        keys = 2 * 28 * TOKENS * 1024  # keys and values of a layer that are whole on each rank of a context
        assert two.activations == pytest.approx((one.activations - keys) / 2 + keys, rel=0.001)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"tensor": 4}, {"tensor": 2}),
        ({"tensor": 4, "sequence": True}, {"tensor": 4}),
        ({"tensor": 4, "context": 2}, {"tensor": 4}),
        ({"tensor": 4, "pipeline": 2, "micro_batches": 2}, {"tensor": 2, "pipeline": 2, "micro_batches": 2}),
    ],
)
def test_what_is_divided_among_more_devices_needs_less(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert estimate(less).pool < estimate(more).pool


def test_a_longer_sequence_needs_more() -> None:
    lengths = (2048, 4096, 8192, 16384, 32768)
    needs = [estimate({"tensor": 4}, sequence_length=length).pool for length in lengths]
    assert needs == sorted(set(needs))


def test_a_pipeline_keeps_a_micro_batch_for_each_stage_that_follows() -> None:
    deep = {"pipeline": 4, "tensor": 2, "micro_batches": 8}
    kept = {"recompute_config": {"recompute": False}}
    many, few = (estimate(deep | {"micro_batches": count}, kept).activations for count in (8, 4))
    assert many == few
    assert estimate(deep | {"micro_batches": 4}, kept).stage == 0


class TestOptimizer:
    CONTEXT_2: ClassVar[dict[str, Any]] = {"tensor": 4, "context": 2, "sequence": True}

    def test_states_and_weights_are_shared_by_context_ranks_too(self) -> None:
        alone = estimate(self.CONTEXT_2, {"parallel": {"enable_parallel_optimizer": False}})
        shared = estimate(self.CONTEXT_2, {"parallel": {"enable_parallel_optimizer": True}})
        embedding = VOCABULARY // 8  # MindFormers leaves it out
        assert alone.optimizer - shared.optimizer == 8 * (alone.optimizer // 8 - embedding) // 2
        assert alone.weights * 2 == alone.optimizer

    def test_gradients_that_a_pipeline_adds_up_are_shared_only_if_asked(self) -> None:
        parallelism = {"tensor": 2, "pipeline": 2, "micro_batches": 2}
        options = [{"gradient_accumulation_shard": flag} for flag in (True, False)]
        shared, whole = (
            estimate(parallelism, {"parallel": {"parallel_optimizer_config": each}}).gradients for each in options
        )
        assert shared < whole

    def test_level3_keeps_no_gathered_weights(self) -> None:
        levels = [
            estimate({"tensor": 2}, {"parallel": {"parallel_optimizer_config": {"optimizer_level": level}}}).copies
            for level in ("level1", "level3")
        ]
        assert levels[1] == 2 * (LAYER + VOCABULARY) // 2
        assert levels[1] < levels[0]


@pytest.mark.parametrize(
    ("override", "item"),
    [
        ({"model": {"model_config": {"param_init_type": "bfloat16"}}}, "weights"),
        ({"recompute_config": {"recompute": False}}, "activations"),
        ({"parallel_config": {"vocab_emb_dp": True}}, "temporary"),
        ({"train_dataset": {"data_loader": {"adaptor_config": {"compress_mask": False}}}}, None),
        ({"model": {"model_config": {"use_flash_attention": False, "use_eod_attn_mask_compression": False}}}, "mask"),
    ],
)
def test_overrides_count(override: dict[str, Any], item: str | None) -> None:
    before, after = estimate({"tensor": 4, "sequence": True}), estimate({"tensor": 4, "sequence": True}, override)
    assert item is None or getattr(after, item) != getattr(before, item)
    assert (after == before) is (item is None)


@pytest.mark.parametrize(
    "loader", [{"create_compressed_eod_mask": False}, {"adaptor_config": {"compress_mask": False}}]
)
def test_a_mask_that_the_data_brings_is_a_matrix_of_integers(loader: dict[str, Any]) -> None:
    """As in the OpenR1-Qwen-7B recipe: 4 GiB at 32k tokens, and 1 GiB of it as bytes."""
    columns = ["input_ids", "labels", "loss_mask", "position_ids", "attention_mask"]
    override = {
        "model": {"model_config": {"use_eod_attn_mask_compression": False}},
        "train_dataset": {"input_columns": columns, "data_loader": loader},
    }
    assert estimate({"tensor": 4, "context": 2}, override).mask == 5 * GIB


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"context": {"max_device_memory": "lots"}}, "max_device_memory is 'lots'"),
        ({"model": {"model_config": {"param_init_type": "int8"}}}, "param_init_type is 'int8'"),
        ({"model": {"model_config": {"compute_dtype": ["float32"]}}}, "compute_dtype is"),
        ({"parallel_config": {"gradient_aggregation_group": 0}}, "gradient_aggregation_group 0"),
    ],
)
def test_a_value_that_mindformers_does_not_take_is_named(override: dict[str, Any], named: str) -> None:
    with pytest.raises(WrongInput, match=named) as refused:
        estimate({"tensor": 4}, override)
    assert refused.value.reason == "OverrideInvalid"
