"""From checkpoints to a model directory."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.student import CONFIG, write_student

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.process import child_process
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.export import export_model, unify_checkpoint
from distill_runtime.training.tensors import read_tensors
from distill_runtime.training.weight_names import expected_shapes, to_mindformers

PARTS_OF_ROWS = (
    "model.layers.0.attention.wq.weight",
    "model.layers.0.attention.wq.mindpet_delta_lora_b",
    "decoder.layers.0.self_attention.linear_qkv.weight",
)
"""Weights of which workers have rows."""
PARTS_OF_COLUMNS = (
    "model.layers.0.attention.wo.weight",
    "model.layers.0.attention.wo.mindpet_delta_lora_a",
    "decoder.layers.0.self_attention.linear_proj.weight",
)
"""Weights of which they have columns."""


def save_checkpoint(path: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """Save what a checkpoint of one worker holds; gives the weights by their HuggingFace names."""
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(size=shape).astype(np.float32) for name, shape in expected_shapes(architecture).items()
    }
    states = {f"adam_m.{to_mindformers(name)}": array * 0 for name, array in weights.items()}
    states |= {"global_step": np.array([7], np.int32), "loss_scale": np.array(1.0, np.float32)}
    save_file({to_mindformers(name): array for name, array in weights.items()} | states, path)
    return weights


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_renamed_and_states_left_out(tmp_path: Path, tied: bool) -> None:
    model = write_student(tmp_path / "student", tie_word_embeddings=tied)
    architecture = Architecture.model_validate(CONFIG | {"tie_word_embeddings": tied})
    weights = save_checkpoint(tmp_path / "checkpoint.safetensors", architecture)
    target = tmp_path / "trained"
    target.mkdir()
    export_model([tmp_path / "checkpoint.safetensors"], model, architecture, None, None, target)
    exported = load_file(target / "model.safetensors")
    assert exported.keys() == weights.keys()
    for name, array in weights.items():
        assert np.array_equal(exported[name], array)
    assert json.loads((target / "config.json").read_text())["torch_dtype"] == "float32"
    assert (target / "tokenizer_config.json").read_bytes() == (model / "tokenizer_config.json").read_bytes()


@pytest.mark.parametrize(
    ("config", "base_weights", "stored"),
    [
        ({"torch_dtype": "bfloat16"}, np.float32, "bfloat16"),
        ({"dtype": "bfloat16"}, np.float32, "bfloat16"),
        ({"torch_dtype": "float32"}, np.float16, "float32"),
        ({"torch_dtype": "auto"}, np.float16, "float16"),
        ({}, np.float16, "float16"),
        ({}, np.float32, "float32"),
        ({}, None, "float32"),
    ],
)
def test_weights_have_the_dtype_of_the_base(
    tmp_path: Path, config: dict[str, object], base_weights: type | None, stored: str
) -> None:
    model = write_student(tmp_path / "student", **config)
    if base_weights is not None:
        save_file({"model.embed_tokens.weight": np.ones(4, base_weights)}, model / "model.safetensors")
    architecture = Architecture.model_validate(CONFIG)
    weights = save_checkpoint(tmp_path / "checkpoint.safetensors", architecture)
    target = tmp_path / "trained"
    target.mkdir()
    export_model([tmp_path / "checkpoint.safetensors"], model, architecture, None, None, target)
    exported = read_tensors(target / "model.safetensors")
    dtypes = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    assert {tensor.dtype for tensor in exported.values()} == {dtypes[stored]}
    assert sum(tensor.bytes for tensor in exported.values()) == sum(array.size for array in weights.values()) * (
        4 if stored == "float32" else 2
    )
    written = json.loads((target / "config.json").read_text())
    assert {written["torch_dtype"], *(written[key] for key in config)} == {stored}


def test_the_models_own_generation_settings_are_kept(tmp_path: Path) -> None:
    model = write_student(tmp_path / "student")
    (model / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    architecture = Architecture.model_validate(CONFIG)
    save_checkpoint(tmp_path / "checkpoint.safetensors", architecture)
    target = tmp_path / "trained"
    target.mkdir()
    export_model([tmp_path / "checkpoint.safetensors"], model, architecture, None, None, target)
    assert json.loads((target / "generation_config.json").read_text()) == {"eos_token_id": [1, 2]}


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.safetensors", Architecture.model_validate(CONFIG | {"num_hidden_layers": 1}))
    with pytest.raises(WrongInput, match=r"missing model\.layers\.1\.") as refused:
        export_model(
            [tmp_path / "checkpoint.safetensors"],
            write_student(tmp_path / "student"),
            Architecture.model_validate(CONFIG),
            None,
            None,
            tmp_path,
        )
    assert refused.value.reason == "WeightsMismatch"


def leave_parts_of_two_workers(root: Path) -> np.ndarray:
    """Leave a checkpoint of two workers and their strategies; gives the query, of which the output is the transpose."""
    from mindformers.parallel_core.inference.utils import save_strategy_file  # noqa: PLC0415

    query = np.arange(32, dtype=np.float32).reshape(8, 4)
    (root / "strategy").mkdir()
    for rank in (0, 1):
        file = root / "step" / f"rank_{rank}" / f"model_rank_{rank}-1_7.safetensors"
        file.parent.mkdir(parents=True)
        half = slice(4 * rank, 4 * rank + 4)
        # Column-parallel query, row-parallel output: cut along the first axis and the second.
        column, row = query[half].copy(), np.ascontiguousarray(query.T[:, half])
        parts = dict.fromkeys(PARTS_OF_ROWS, column) | dict.fromkeys(PARTS_OF_COLUMNS, row)
        save_file(parts | {f"adam_m.{name}": part for name, part in parts.items()}, file)
        cuts = {name: {"shape": (4, 4), "shard": (2, 1)} for name in PARTS_OF_ROWS}
        cuts |= {name: {"shape": (4, 4), "shard": (1, 2)} for name in PARTS_OF_COLUMNS}
        save_strategy_file(
            {"stage_rank_size": 2, "stage": 0, "model": cuts, "optimizer": {}},
            str(root / "strategy" / f"strategy_rank_{rank}.ckpt"),
        )
    return query


FULL_NODE = """
import sys, types
from pathlib import Path
def virtual_memory():
    with Path({asked!r}).open("a") as file:
        file.write("asked\\n")
    return types.SimpleNamespace(percent=60.0 if len(Path({asked!r}).read_text().splitlines()) < 3 else 40.0)
sys.modules["psutil"] = types.SimpleNamespace(virtual_memory=virtual_memory)
"""
PLAIN = """
import sys
from pathlib import Path
from distill_runtime.training import unify
unify.PATCHES = {}
sys.exit(unify.main(*map(Path, sys.argv[1:])))
"""


@pytest.mark.mindspore
def test_parts_of_two_workers_make_whole_weights_on_a_node_whose_memory_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = leave_parts_of_two_workers(tmp_path)
    asked, modules = tmp_path / "asked", tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(FULL_NODE.format(asked=str(asked)))
    (modules / "plain_unify.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(modules)
    files = unify_checkpoint(tmp_path / "step", tmp_path / "strategy", tmp_path / "unified", tmp_path)
    whole = {name: array for file in files for name, array in load_file(file).items()}
    for name in PARTS_OF_ROWS:
        assert np.array_equal(whole[name], query)
    for name in PARTS_OF_COLUMNS:
        assert np.array_equal(whole[name], query.T)
    assert whole.keys() == {
        *PARTS_OF_ROWS,
        *PARTS_OF_COLUMNS,
    }  # and no states of the optimizer, which take twice the memory
    assert not asked.exists()
    # When this fails, MindSpore has stopped to wait for the node's memory, and the patch can go.
    (tmp_path / "plain").mkdir()
    arguments = [str(tmp_path / name) for name in ("step", "strategy", "plain")]
    child_process.start("plain", "plain_unify", arguments, {}, tmp_path).wait(600)
    assert len(asked.read_text().splitlines()) >= 3
