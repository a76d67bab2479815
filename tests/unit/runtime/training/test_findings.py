"""MindFormers takes every YAML that is written here, and what it does not take is said where it was written."""

from pathlib import Path
from typing import Any

import pytest
from support.architectures import QWEN_2_5_7B, QWEN_3_8B
from support.student import CONFIG, QWEN3, train_contract

from distill_runtime.contract import ArtifactReference, Lora, Parallelism, Recompute, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture, RopeScaling
from distill_runtime.training.configuration import InitialState, TrainingData, build_configuration
from distill_runtime.training.findings import Finding, find, refuse
from distill_runtime.training.schedule import plan_schedule

DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)
TINY = Architecture.model_validate(CONFIG)
LLAMA_3_1 = QWEN_2_5_7B.model_copy(
    update={
        "model_type": "llama",
        "rope_scaling": RopeScaling(
            rope_type="llama3",
            factor=8,
            low_freq_factor=1,
            high_freq_factor=4,
            original_max_position_embeddings=8192,
        ),
    }
)
ASCEND: dict[str, Any] = {"device_target": "Ascend", "devices_per_node": 8}
BASE = InitialState(path=Path("/data/base"), reshard=True)
SEED: dict[str, Any] = {
    "runner_wrapper": {
        "scale_sense": {
            "type": "DynamicLossScaleUpdateCell",
            "loss_scale_value": 4096,
            "scale_factor": 1,
            "scale_window": 1,
        }
    },
    "callbacks": [
        {"type": "MFLossMonitor"},
        {
            "type": "CheckpointMonitor",
            "prefix": "qwen2_5",
            "save_checkpoint_steps": 5000,
            "keep_checkpoint_max": 1,
            "integrated_save": False,
            "async_save": False,
            "checkpoint_format": "safetensors",
            "remove_redundancy": True,
        },
    ],
    "train_dataset": {
        "data_loader": {"shuffle": False},
        "num_parallel_workers": 8,
        "dynamic_batch": False,
        "divisor": 32768,
        "remainder": 1,
        "pad_token_id": [151643, -100],
    },
    "recompute_config": {
        "recompute": False,
        "select_recompute": True,
        "parallel_optimizer_comm_recompute": False,
        "mp_comm_recompute": False,
        "recompute_slice_activation": True,
    },
    "parallel": {
        "enable_parallel_optimizer": True,
        "parallel_optimizer_config": {"gradient_accumulation_shard": False, "parallel_optimizer_threshold": 64},
    },
    "context": {
        "max_device_memory": "59GB",
        "mempool_block_size": "59GB",
        "memory_optimize_level": "O1",
        "save_graphs": False,
        "save_graphs_path": "./graph",
        "ascend_config": {
            "precision_mode": "must_keep_origin_dtype",
            "parallel_speed_up_json_path": "/path/to/your/parallel_speed_up.json",
        },
    },
    "model": {"model_config": {"use_attn_mask_compression": False, "eos_token_id": 151643, "offset": 0}},
    "processor": {"return_tensors": "ms"},
    "auto_tune": False,
    "remote_save_url": None,
}
"""What the YAMLs of OpenR1-Qwen-7B set besides, which only Ascend uses."""

FORMS: dict[str, tuple[dict[str, Any], Architecture, int, InitialState]] = {
    "one CPU": ({}, TINY, 128, InitialState()),
    "two CPUs": ({"devices_per_node": 2, "nodes": 2}, TINY, 128, InitialState(path=Path("/data/initial"))),
    "one CPU, resumed": ({}, TINY, 128, InitialState(path=Path("/data/step"), resume=True)),
    "two CPUs, resumed": (
        {"devices_per_node": 2},
        TINY,
        128,
        InitialState(path=Path("/data/step"), resume="model-1_3"),
    ),
    **{
        f"one CPU, {schedule}": ({"training": Training(learning_rate_schedule=schedule)}, TINY, 128, InitialState())
        for schedule in ("cosine", "constant")
    },
    "one NPU": ({"device_target": "Ascend"}, QWEN_2_5_7B, 4096, InitialState(path=Path("/data/base"))),
    "one NPU, short sequences": ({"device_target": "Ascend"}, QWEN_2_5_7B, 1024, InitialState()),
    "eight NPUs, data parallel": (ASCEND, QWEN_2_5_7B, 4096, BASE),
    "tensor 4, pipeline 2": (
        {**ASCEND, "parallelism": Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8)},
        QWEN_2_5_7B,
        32768,
        BASE,
    ),
    "tensor 4, context 2": (
        {
            **ASCEND,
            "training": Training(recompute=Recompute(layers="none", communication=True)),
            "parallelism": Parallelism(tensor=4, context=2, context_attention="split"),
        },
        QWEN_2_5_7B,
        32768,
        BASE,
    ),
    "64 NPUs": (
        {**ASCEND, "nodes": 8, "parallelism": Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8)},
        LLAMA_3_1,
        32768,
        InitialState(path=Path("/data/step"), resume="model_rank_0-1_500"),
    ),
    "adapters": (
        {**ASCEND, "training": Training(lora=Lora()), "parallelism": Parallelism(tensor=4)},
        QWEN_2_5_7B,
        32768,
        BASE,
    ),
    "Qwen3 on one CPU": ({}, Architecture.model_validate(CONFIG | QWEN3), 128, InitialState()),
    "Qwen3, short sequences": ({"device_target": "Ascend"}, QWEN_3_8B, 1024, InitialState()),
    "Qwen3, tensor 4, pipeline 2": (
        {**ASCEND, "parallelism": Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8)},
        QWEN_3_8B,
        32768,
        BASE,
    ),
    "Qwen3, tensor 4, context 2": (
        {
            **ASCEND,
            "parallelism": Parallelism(tensor=4, context=2, micro_batches=4),
            # as MindFormers' own finetune_qwen3.yaml has them
            "mindformers": {
                "model": {"model_config": {"hidden_dropout": 0.0, "offset": 0}},
                "recompute_config": {
                    "recompute": True,
                    "select_recompute": False,
                    "parallel_optimizer_comm_recompute": True,
                    "mp_comm_recompute": True,
                },
            },
        },
        QWEN_3_8B,
        32768,
        BASE,
    ),
    "the seed's own settings": (
        {**ASCEND, "parallelism": Parallelism(tensor=4, context=2, micro_batches=4), "mindformers": SEED},
        QWEN_2_5_7B,
        32768,
        BASE,
    ),
}


def configuration(changes: dict[str, Any], architecture: Architecture, length: int, start: InitialState) -> dict:
    contract = train_contract(DATASET, **changes)
    data = TrainingData(Path("/data/packed/sequences"), length)
    output = Path("/nowhere/mindformers")
    return build_configuration(contract, architecture, plan_schedule(contract, 1000), data, start, output, cpus=4)


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[Finding, ...]]:
    return dict(zip(FORMS, find([configuration(*form) for form in FORMS.values()]), strict=True))


@pytest.mark.mindspore
@pytest.mark.parametrize("name", FORMS)
def test_mindformers_takes_what_is_written_here(found: dict[str, tuple[Finding, ...]], name: str) -> None:
    assert found[name] == ()


WRONG_IN_QWEN3: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "of Llama": ({"layernorm_compute_type": "float32"}, "there is no such key", "layernorm_compute_dtype"),
    "a dtype": ({"layernorm_compute_dtype": "float31"}, "The value of 'type_str' must be in", "float32"),
    "compressed without flash attention": (
        {"use_flash_attention": False},
        "When use mask compression, use_flash_attention must be True",
        None,
    ),
}


@pytest.mark.mindspore
def test_what_a_newer_network_does_not_take_is_found() -> None:
    contract = {"device_target": "Ascend"}
    written = [
        configuration({**contract, "mindformers": {"model": {"model_config": keys}}}, QWEN_3_8B, 4096, BASE)
        for keys, _said, _nearest in WRONG_IN_QWEN3.values()
    ]
    for findings, (_keys, said, nearest) in zip(find(written), WRONG_IN_QWEN3.values(), strict=True):
        (finding,) = findings
        assert said in finding.message
        assert nearest in (None, finding.nearest)


def refusal(finding: Finding, overrides: dict[str, Any]) -> WrongInput:
    with pytest.raises(WrongInput) as refused:
        refuse([finding], overrides)
    return refused.value


def test_nothing_found_is_nothing_refused() -> None:
    refuse([], {"context": {"mode": 0}})


def test_a_section_that_is_refused_is_said_by_the_key_that_the_refusal_speaks_of() -> None:
    finding = Finding(path="context.jit_config", problem="value", message="the value of argument jit_level must be O0")
    refused = refusal(finding, {"context": {"jit_config": {"jit_level": "O5", "infer_boost": "on"}, "mode": 0}})
    assert refused.reason == "WrongMindFormersValue"
    assert "spec.mindformers.context.jit_config.jit_level: the value of" in refused.message
    assert "infer_boost" not in refused.message


def test_a_refusal_that_speaks_of_no_key_names_all_of_the_section() -> None:
    finding = Finding(path="optimizer", problem="value", message="it is wrong")
    refused = refusal(finding, {"optimizer": {"eps": 1, "betas": []}, "context": {"mode": 0}})
    assert "spec.mindformers.optimizer.eps, spec.mindformers.optimizer.betas: it is wrong" in refused.message


def test_what_is_like_nothing_known_is_to_be_left_out() -> None:
    finding = Finding(path="model.model_config.xyz", problem="key", message="there is no such key")
    refused = refusal(finding, {"model": {"model_config": {"xyz": 1}}})
    assert refused.reason == "UnknownMindFormersKey"
    assert refused.message.endswith("spec.mindformers.model.model_config.xyz: there is no such key; leave it out")


def test_what_is_written_here_is_no_mistake_of_the_spec() -> None:
    finding = Finding(path="recompute_config.recompute", problem="key", message="there is no such key")
    refused = refusal(finding, {"context": {"mode": 0}})
    assert refused.reason == "MindFormersDiffers"
    assert "recompute_config.recompute: there is no such key; use the runtime image" in refused.message
