"""Weights as MindFormers' networks have them, made of HuggingFace's and taken apart again."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.student import CONFIG, QWEN3

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.tensors import TornFile, read_tensors, rounded, write_tensors
from distill_runtime.training.weight_layout import is_weight, unweave, weave, weave_arrays, weight_layout
from distill_runtime.training.weight_names import expected_shapes

QWEN_2_5 = Architecture.model_validate(CONFIG)
QWEN_3 = Architecture.model_validate(CONFIG | QWEN3)
UNTIED = Architecture.model_validate(CONFIG | QWEN3 | {"tie_word_embeddings": False, "num_key_value_heads": 1})
LAYER = "decoder.layers.1"


def write_base(architecture: Architecture, path: Path, dtype: type = np.float32) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape).astype(dtype) for name, shape in expected_shapes(architecture).items()}
    save_file(arrays, path)
    return arrays


@pytest.mark.parametrize("architecture", [QWEN_2_5, QWEN_3, UNTIED])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_come_back_as_they_were(tmp_path: Path, architecture: Architecture, dtype: type) -> None:
    base = write_base(architecture, tmp_path / "base", dtype)
    layout = weight_layout(architecture)
    write_tensors(weave(layout, read_tensors(tmp_path / "base")), tmp_path / "woven")
    woven = load_file(tmp_path / "woven")
    assert woven.keys() == layout.keys()
    for stored, parts in layout.items():
        assert np.array_equal(woven[stored], weave_arrays([base[part.name] for part in parts], parts)), stored
    apart = {}
    for stored, tensor in read_tensors(tmp_path / "woven").items():
        assert is_weight(stored)
        apart |= dict(unweave(layout, stored, tensor))
    write_tensors(apart, tmp_path / "back")
    back = load_file(tmp_path / "back")
    assert back.keys() == base.keys()
    for name, array in base.items():
        assert back[name].dtype == dtype
        assert np.array_equal(back[name], array), name


def test_a_group_of_heads_has_its_queries_its_key_and_its_value_together(tmp_path: Path) -> None:
    base = write_base(QWEN_3, tmp_path / "base")
    write_tensors(weave(weight_layout(QWEN_3), read_tensors(tmp_path / "base")), tmp_path / "woven")
    woven = load_file(tmp_path / "woven")
    query, key, value = (base[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv")
    groups = [query[:32], key[:16], value[:16], query[32:], key[16:], value[16:]]  # two groups of two heads of 16
    assert np.array_equal(woven[f"{LAYER}.self_attention.linear_qkv.weight"], np.concatenate(groups))
    gate, up = (base[f"model.layers.1.mlp.{name}_proj.weight"] for name in ("gate", "up"))
    fused = woven[f"{LAYER}.mlp.linear_fc1.weight"]
    assert np.array_equal(fused[0::2], gate)
    assert np.array_equal(fused[1::2], up)


def test_what_is_another_network_s_keeps_its_name(tmp_path: Path) -> None:
    fused = f"{LAYER}.mlp.linear_fc1.weight"
    save_file(
        {fused: np.ones((6, 32), np.float32), "decoder.layers.2.pre_mlp_layernorm.weight": np.ones(32)}, tmp_path / "w"
    )
    layout = weight_layout(QWEN_3)
    found = [
        name for stored, tensor in read_tensors(tmp_path / "w").items() for name, _ in unweave(layout, stored, tensor)
    ]
    assert sorted(found) == [fused, "decoder.layers.2.pre_mlp_layernorm.weight"]


@pytest.mark.parametrize(
    "name", ["adam_m.decoder.final_layernorm.weight", "decoder.layers.0.hidden_states_dropout.seed", "global_step"]
)
def test_states_of_training_are_no_weights(tmp_path: Path, name: str) -> None:
    save_file({name: np.ones(2, np.float32)}, tmp_path / "state")
    assert not is_weight(name)
    assert list(unweave(weight_layout(QWEN_3), name, read_tensors(tmp_path / "state")[name])) == []


def test_weights_that_become_one_have_one_dtype(tmp_path: Path) -> None:
    base = write_base(QWEN_3, tmp_path / "base")
    base["model.layers.0.mlp.up_proj.weight"] = base["model.layers.0.mlp.up_proj.weight"].astype(np.float16)
    save_file(base, tmp_path / "base")
    with pytest.raises(WrongInput, match=r"layers\.0\.mlp\.up_proj\.weight is F16") as refused:
        weave(weight_layout(QWEN_3), read_tensors(tmp_path / "base"))
    assert refused.value.reason == "WeightsMismatch"


def test_float32_is_rounded_as_it_is_taken_apart_and_a_file_that_shrinks_is_torn(tmp_path: Path) -> None:
    base = write_base(QWEN_3, tmp_path / "base")
    woven = weave(weight_layout(QWEN_3), read_tensors(tmp_path / "base"))[f"{LAYER}.mlp.linear_fc1.weight"]
    write_tensors({"halves": rounded(woven, "F16")}, tmp_path / "halves")
    halves = load_file(tmp_path / "halves")["halves"]
    assert np.array_equal(halves[0::2], base["model.layers.1.mlp.gate_proj.weight"].astype(np.float16))
    with (tmp_path / "base").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(TornFile):
        list(woven.chunks())
