"""config.json in, LlamaConfig out, and no for what would run and be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.student import CONFIG

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import (
    LLAMA_CONFIG_SOURCES,
    Architecture,
    llama_config,
    read_architecture,
)
from distill_runtime.training.qwen3 import OTHER_NAMES, QWEN3_CONFIG_SOURCES, qwen3_config
from distill_runtime.training.weight_names import expected_shapes

QWEN_2_5_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 131072,
    "torch_dtype": "bfloat16",
}
QWEN_3_0_6B = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "max_window_layers": 28,
    "sliding_window": None,
    "use_sliding_window": False,
}
LLAMA_3_1_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}


def of_transformers_5(config: dict[str, Any]) -> dict[str, Any]:
    """Give a config.json as transformers 5 saves it, with all about rotary positions in one key."""
    rest = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling")}
    scaling = config.get("rope_scaling") or {"rope_type": "default"}
    return {**rest, "rope_parameters": {**scaling, "rope_theta": config["rope_theta"]}}


def write(directory: Path, config: dict[str, object]) -> Path:
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_qwen_2_5_has_a_bias_on_query_key_and_value_alone(tmp_path: Path) -> None:
    keys = llama_config(read_architecture(write(tmp_path, QWEN_2_5_7B)))
    assert keys["qkv_has_bias"] is True
    assert keys["attn_proj_has_bias"] is False
    assert (keys["theta"], keys["n_kv_heads"], keys["extend_method"]) == (1000000.0, 4, "None")


def test_llama_3_1_stretches_its_rotary_positions(tmp_path: Path) -> None:
    keys = llama_config(read_architecture(write(tmp_path, LLAMA_3_1_8B)))
    assert keys["qkv_has_bias"] is False
    assert keys["extend_method"] == "LLAMA3"
    assert keys["scaling_factor"] == {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize("config", [QWEN_2_5_7B, LLAMA_3_1_8B])
def test_rotary_positions_are_the_same_as_transformers_5_writes_them(tmp_path: Path, config: dict[str, Any]) -> None:
    assert read_architecture(write(tmp_path, of_transformers_5(config))) == Architecture.model_validate(config)


@pytest.mark.parametrize("config", [QWEN_2_5_7B, LLAMA_3_1_8B])
def test_rotary_positions_may_be_said_twice_if_they_are_the_same(tmp_path: Path, config: dict[str, Any]) -> None:
    both = of_transformers_5(config) | config
    assert read_architecture(write(tmp_path, both)) == Architecture.model_validate(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rope_theta": 10000.0}, "rope_theta is 10000.0 at the top level, but 500000.0 by rope_parameters"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "rope_scaling is "),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters has no rope_theta"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}}, "rope_scaling.rope_type"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "not one set of parameters for all layers"),
    ],
)
def test_rotary_positions_that_are_not_clear_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongInput) as refused:
        read_architecture(write(tmp_path, of_transformers_5(LLAMA_3_1_8B) | changes))
    assert refused.value.reason == "UnsupportedModel"
    assert said in refused.value.message


def test_qwen_3_has_heads_of_their_own_width(tmp_path: Path) -> None:
    architecture = read_architecture(write(tmp_path, QWEN_3_0_6B))
    assert (architecture.query_size, architecture.key_value_size, architecture.hidden_size) == (2048, 1024, 1024)
    without = {key: value for key, value in QWEN_3_0_6B.items() if key != "head_dim"}
    assert read_architecture(write(tmp_path, without)).head_size == 128  # transformers' own default
    assert qwen3_config(architecture)["head_dim"] == 128


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(QWEN_2_5_7B, 7_615_616_512), (LLAMA_3_1_8B, 8_030_261_248), (QWEN_3_0_6B, 596_049_920)],
)
def test_the_published_number_of_parameters(config: dict[str, object], parameters: int) -> None:
    shapes = expected_shapes(Architecture.model_validate(config))
    count = 0
    for shape in shapes.values():
        size = 1
        for length in shape:
            size *= length
        count += size
    assert count == parameters


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "qwen3_moe"}, "qwen3_moe is a mixture of experts; the weights of experts cannot be exported"),
        ({"model_type": "qwen3", "attention_bias": True}, "attention_bias is set, which MindFormers does not read"),
        (
            {"model_type": "qwen3", "rope_scaling": LLAMA_3_1_8B["rope_scaling"]},
            "rope_scaling is set, which MindFormers does not read of a Qwen3",
        ),
        ({"model_type": "qwen3", "use_sliding_window": True}, "use_sliding_window"),
        ({"model_type": "mixtral"}, "qwen2 (Qwen2, Qwen2.5"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"head_dim": 128}, "head_dim 128"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_what_is_another_model_is_refused_by_its_key(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(WrongInput) as refused:
        read_architecture(write(tmp_path, CONFIG | changes))
    assert refused.value.reason == "UnsupportedModel"
    assert said in refused.value.message


def test_a_directory_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"model\.uri must be a directory of HuggingFace files") as refused:
        read_architecture(tmp_path)
    assert refused.value.reason == "ModelConfigMissing"


def test_every_key_is_decided_by_one_of_config_json() -> None:
    assert LLAMA_CONFIG_SOURCES.keys() == llama_config(Architecture.model_validate(LLAMA_3_1_8B)).keys()
    assert QWEN3_CONFIG_SOURCES.keys() == qwen3_config(Architecture.model_validate(QWEN_3_0_6B)).keys()
    assert not OTHER_NAMES.keys() & QWEN3_CONFIG_SOURCES.keys()
    for sources in (LLAMA_CONFIG_SOURCES, QWEN3_CONFIG_SOURCES, OTHER_NAMES):
        assert set(sources.values()) <= Architecture.model_fields.keys()
