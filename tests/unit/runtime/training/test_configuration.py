"""The MindFormers YAML, against golden files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.architectures import QWEN_2_5_7B, QWEN_3_8B
from support.student import CONFIG, train_contract

from distill_runtime.contract import ArtifactReference, ModelSource, Parallelism, Recompute, TrainContract, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture, llama_config
from distill_runtime.training.attempt import to_yaml
from distill_runtime.training.configuration import (
    InitialState,
    TrainingData,
    build_configuration,
    compresses_mask,
)
from distill_runtime.training.overrides import merge
from distill_runtime.training.qwen3 import OTHER_NAMES, qwen3_config
from distill_runtime.training.schedule import plan_schedule

GOLDEN = Path(__file__).parent / "golden"
DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)


def build(contract: TrainContract, architecture: Architecture, sequence_length: int, start: InitialState) -> dict:
    return build_configuration(
        contract,
        architecture,
        plan_schedule(contract, 1000),
        TrainingData(Path("/data/packed/sequences"), sequence_length),
        start,
        Path("/data/trained.partial/mindformers"),
        cpus=4,
    )


def tiny(**changes: object) -> dict:
    return build(train_contract(DATASET, **changes), Architecture.model_validate(CONFIG), 128, InitialState())


def test_one_cpu(check_golden: Callable[[str, dict], None]) -> None:
    training = Training(
        epochs=2,
        batch_size=16,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        learning_rate_schedule="cosine",
        warmup_ratio=0.03,
    )
    check_golden("cpu.yaml", tiny(training=training))


def test_qwen_2_5_7b_on_eight_npus(check_golden: Callable[[str, dict], None]) -> None:
    contract = train_contract(
        DATASET,
        model=ModelSource(uri="Qwen2.5-7B"),
        training=Training(),
        parallelism=Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8),
        device_target="Ascend",
        devices_per_node=8,
        mindformers={"context": {"max_device_memory": "59GB"}, "recompute_config": {"recompute": [7, 7]}},
    )
    start = InitialState(path=Path("/data/Qwen2.5-7B"), reshard=True)
    check_golden("ascend.yaml", build(contract, QWEN_2_5_7B, 32768, start))


def test_qwen_3_8b_on_eight_npus(check_golden: Callable[[str, dict], None]) -> None:
    contract = train_contract(
        DATASET,
        model=ModelSource(uri="Qwen3-8B"),
        training=Training(),
        parallelism=Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8),
        device_target="Ascend",
        devices_per_node=8,
    )
    start = InitialState(path=Path("/data/trained.work/initial"), reshard=True)
    check_golden("ascend-qwen3.yaml", build(contract, QWEN_3_8B, 32768, start))


@pytest.fixture
def check_golden(equals_golden_text: Callable[[Path, str], None]) -> Callable[[str, dict], None]:
    def check(name: str, configuration: dict) -> None:
        text = to_yaml(configuration)
        equals_golden_text(GOLDEN / name, text)
        assert yaml.safe_load(text) == configuration

    return check


@pytest.mark.parametrize(
    ("device_target", "sequence_length", "compressed"),
    [("Ascend", 2047, False), ("Ascend", 2048, True), ("CPU", 2047, False), ("CPU", 2048, False)],
)
def test_the_mask_is_compressed_where_mindformers_takes_it_so(
    device_target: str, sequence_length: int, compressed: bool
) -> None:
    contract = train_contract(DATASET, device_target=device_target)
    configuration = build(contract, QWEN_2_5_7B, sequence_length, InitialState())
    loader = configuration["train_dataset"]["data_loader"]
    assert configuration["model"]["model_config"]["use_eod_attn_mask_compression"] is compressed
    assert loader["create_compressed_eod_mask"] is compressed
    last_column = "actual_seq_len" if compressed else "attention_mask"
    for key in ("input_columns", "construct_args_key"):
        assert configuration["train_dataset"][key][-1] == last_column


@pytest.mark.parametrize(
    ("parallelism", "architecture", "compressed"),
    [
        ({}, QWEN_2_5_7B, True),
        ({"context": 2}, QWEN_2_5_7B, True),
        ({"context": 2, "context_attention": "split"}, QWEN_2_5_7B, False),
        ({"context": 2, "context_attention": "split"}, QWEN_3_8B, True),
    ],
)
def test_the_mask_is_a_matrix_where_attention_is_split(
    parallelism: dict, architecture: Architecture, compressed: bool
) -> None:
    """MindFormers divides the queries among context ranks only so: see flash_attention.py, layouts BSH and TND."""
    contract = train_contract(
        DATASET, device_target="Ascend", devices_per_node=8, parallelism=Parallelism(**parallelism)
    )
    assert compresses_mask(contract, architecture, 32768) is compressed


@pytest.mark.mindspore
def test_mindformers_divides_queries_among_context_ranks_in_one_layout_only() -> None:
    from mindformers.modules.flash_attention import FlashAttention  # noqa: PLC0415

    data, tensor, context = 1, 4, 2
    queries = {
        layout: FlashAttention(28, input_layout=layout, sparse_mode=mode)._generate_flash_attention_strategy(
            data, tensor, context
        )[0]
        for layout, mode in (("BSH", 0), ("TND", 8))
    }
    assert queries == {"BSH": (data, context, tensor), "TND": (data, tensor, 1)}


SILU_AND_PRODUCT = [
    r"feed_forward\.mul",
    r"feed_forward\.w1\.activation\.silu",
    r"feed_forward\.w1\.reshape",
    r"feed_forward\.w2\.reshape",
]


@pytest.mark.parametrize(
    ("recompute", "keys"),
    [
        ({}, (True, False, False)),
        ({"layers": "selected"}, (False, SILU_AND_PRODUCT, False)),
        ({"layers": "none", "communication": True}, (False, False, True)),
    ],
)
def test_what_is_computed_again(recompute: dict, keys: tuple[object, ...]) -> None:
    changes = {"training": Training(recompute=Recompute(**recompute)), "device_target": "Ascend"}
    written = tiny(**changes)["recompute_config"]
    assert written == dict(zip(("recompute", "select_recompute", "select_comm_recompute"), keys, strict=True))
    assert tiny(**changes | {"device_target": "CPU"})["recompute_config"] == {"recompute": False}


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"device_target": "Ascend"}, False),
        ({"device_target": "Ascend", "devices_per_node": 8}, True),
        ({"device_target": "Ascend", "devices_per_node": 8, "parallelism": Parallelism(tensor=4, context=2)}, True),
        ({"devices_per_node": 8}, False),
    ],
)
def test_several_devices_share_the_optimizer(changes: dict, shared: bool) -> None:
    parallel = tiny(**changes)["parallel"]
    assert parallel["enable_parallel_optimizer"] is shared
    assert ("parallel_optimizer_config" in parallel) is shared


@pytest.mark.mindspore
@pytest.mark.parametrize("level", [None, "level1", "level2", "level3"])
def test_mindspore_takes_every_level_of_sharing_beside_what_is_written(level: str | None) -> None:
    from mindspore.parallel._auto_parallel_context import auto_parallel_context  # noqa: PLC0415

    overrides = {} if level is None else {"parallel": {"parallel_optimizer_config": {"optimizer_level": level}}}
    options = tiny(device_target="Ascend", devices_per_node=8, mindformers=overrides)["parallel"]
    try:
        auto_parallel_context().set_parallel_optimizer_config(options["parallel_optimizer_config"])
        assert auto_parallel_context().get_grad_accumulation_shard() is (level == "level2")
    finally:
        auto_parallel_context().reset()


@pytest.mark.mindspore
def test_mindformers_takes_no_compressed_mask_for_shorter_sequences() -> None:
    from mindformers.modules.transformer.transformer import LowerTriangularMaskWithDynamic  # noqa: PLC0415

    for length in (2047, 2048):
        compressed = compresses_mask(train_contract(DATASET, device_target="Ascend"), QWEN_2_5_7B, length)
        LowerTriangularMaskWithDynamic(length, use_flash_attention=True, use_attn_mask_compression=compressed)
    with pytest.raises(ValueError, match="seq_length"):
        LowerTriangularMaskWithDynamic(2047, use_flash_attention=True, use_attn_mask_compression=True)


def test_overrides_are_merged_last_and_unknown_keys_go_through() -> None:
    configuration = tiny(
        mindformers={
            "optimizer": {"weight_decay": 0.5, "new_key": 1},
            "callbacks": [{"type": "MFLossMonitor"}],
            "train_dataset": {"prefetch_size": 8},
            "unheard_of": {"a": 1},
        }
    )
    assert configuration["optimizer"]["weight_decay"] == 0.5
    assert configuration["optimizer"]["new_key"] == 1
    assert configuration["optimizer"]["type"] == "AdamW"
    assert configuration["callbacks"] == [{"type": "MFLossMonitor"}]
    assert configuration["train_dataset_task"]["dataset_config"]["prefetch_size"] == 8
    assert configuration["unheard_of"] == {"a": 1}


def test_workers_on_a_cpu_share_its_processors() -> None:
    for devices, threads in ((1, 4), (2, 2), (8, 1)):
        assert tiny(devices_per_node=devices)["context"]["runtime_num_threads"] == threads


def test_an_override_replaces_a_mapping_by_what_is_none() -> None:
    assert merge({"a": {"b": 1}}, {"a": None}) == {"a": None}


@pytest.mark.parametrize(
    ("overrides", "path"),
    [({"optimizer": None}, "optimizer"), ({"model": {"arch": "Llama"}}, "model.arch"), ({"context": [1]}, "context")],
)
def test_an_override_does_away_with_no_mapping_that_is_written(overrides: dict, path: str) -> None:
    with pytest.raises(WrongInput) as refused:
        tiny(mindformers=overrides)
    assert f"mindformers.{path}: " in refused.value.message
    assert refused.value.reason in ("WrongMindFormersValue", "OverrideNotAllowed")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"runner_config": {"epochs": 5}}, "mindformers.runner_config.epochs: set training.epochs instead"),
        ({"parallel_config": {"model_parallel": 2}}, "set parallelism.tensor instead"),
        ({"load_checkpoint": "/x"}, "set model.uri instead"),
        ({"use_legacy": False}, "follows from model_type in the config.json"),
        ({"resume_training": True}, "the stage resumes by itself"),
        # What cannot be logged: ten steps as one, seven outputs of a step, a loss that is divided already.
        ({"runner_config": {"sink_size": 10}}, "runner_config.sink_size: set nothing: every step is logged"),
        ({"runner_wrapper": {"local_norm": True}}, "runner_wrapper.local_norm"),
        ({"calculate_per_token_loss": True}, "calculate_per_token_loss"),
        (
            {"model": {"model_config": {"theta": 300000.0, "max_position_embedding": 131072}}},
            "config.max_position_embedding: set max_position_embeddings in the config.json of model.uri, which the",
        ),
        ({"model": {"model_config": {"pet_config": {"pet_type": "lora"}}}}, "set training.lora instead"),
        ({"model": {"arch": {"type": "LlamaForCausalLMWithLora"}}}, "the network follows from the config.json"),
    ],
)
def test_a_key_with_a_field_of_its_own_cannot_be_overridden(overrides: dict, said: str) -> None:
    with pytest.raises(WrongInput) as refused:
        tiny(mindformers=overrides)
    assert refused.value.reason == "OverrideNotAllowed"
    assert said in refused.value.message


@pytest.mark.parametrize("key", {**llama_config(QWEN_2_5_7B), **qwen3_config(QWEN_3_8B), **OTHER_NAMES})
def test_what_config_json_decides_cannot_be_overridden(key: str) -> None:
    with pytest.raises(WrongInput) as refused:
        tiny(mindformers={"model": {"model_config": {key: 1}}})
    assert refused.value.reason == "OverrideNotAllowed"
    assert f"mindformers.model.model_config.{key}: " in refused.value.message


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_learning_rate_that_decays_must_fall(schedule: str) -> None:
    training = Training(learning_rate=1e-4, final_learning_rate=1e-4, learning_rate_schedule=schedule)
    with pytest.raises(WrongInput) as refused:
        tiny(training=training)
    assert refused.value.reason == "LearningRateRises"


def test_a_constant_learning_rate_has_no_end() -> None:
    schedule = tiny(training=Training(learning_rate_schedule="constant"))["lr_schedule"]
    assert schedule["type"] == "ConstantWarmUpLR"
    assert "lr_end" not in schedule
