"""safetensors by their headers: the reference implementation reads what we write, and we see what is torn."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.tensors import (
    TornFile,
    read_directory,
    read_tensors,
    rounded,
    write_sharded,
    write_tensors,
)

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4, dtype=np.float16),
    "c": np.array(7, dtype=np.int64),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(ARRAYS, tmp_path / "in.safetensors", metadata={"format": "np"})
    return tmp_path / "in.safetensors"


def test_names_shapes_and_dtypes(file: Path) -> None:
    tensors = read_tensors(file)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("F16", (4,)),
        "c": ("I64", ()),
    }


def test_copies_are_equal_under_their_new_names(file: Path, tmp_path: Path) -> None:
    write_tensors({f"new.{name}": tensor for name, tensor in read_tensors(file).items()}, tmp_path / "out.safetensors")
    copies = load_file(tmp_path / "out.safetensors")
    assert {f"new.{name}" for name in ARRAYS} == set(copies)
    for name, array in ARRAYS.items():
        assert copies[f"new.{name}"].dtype == array.dtype
        assert np.array_equal(copies[f"new.{name}"], array)


def test_shards_are_listed_in_an_index(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    files = write_sharded(read_tensors(file), target, shard_bytes=32)
    assert [path.name for path in files] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 24 + 8 + 8
    for name, shard in index["weight_map"].items():
        assert np.array_equal(load_file(target / shard)[name], ARRAYS[name])
    assert set(read_directory(target)) == set(ARRAYS)


def test_float32_is_rounded_while_it_is_written(tmp_path: Path) -> None:
    # More than one piece, and cut into shards by what is written.
    large = np.random.default_rng(0).normal(size=(5, 1 << 20)).astype(np.float32)
    save_file({"large": large, "one": np.ones(4, np.float32), "whole": np.arange(3)}, tmp_path / "in.safetensors")
    target = tmp_path / "model"
    target.mkdir()
    tensors = {name: rounded(tensor, "F16") for name, tensor in read_tensors(tmp_path / "in.safetensors").items()}
    files = write_sharded(tensors, target, shard_bytes=large.nbytes // 2 + 8 + 24)
    assert [path.name for path in files] == ["model.safetensors"]
    written = load_file(files[0])
    assert written["large"].dtype == written["one"].dtype == np.float16
    assert np.array_equal(written["large"], large.astype(np.float16))
    assert np.array_equal(written["whole"], np.arange(3))


def test_a_weight_beyond_the_dtype_is_named(tmp_path: Path) -> None:
    save_file({"a.weight": np.array([1, 70000], np.float32)}, tmp_path / "in.safetensors")
    tensors = {name: rounded(tensor, "F16") for name, tensor in read_tensors(tmp_path / "in.safetensors").items()}
    with pytest.raises(WrongInput, match=r"a\.weight has the value 70000, which F16 cannot hold") as refused:
        write_tensors(tensors, tmp_path / "out.safetensors")
    assert refused.value.reason == "WeightsTooLarge"


def test_one_shard_needs_no_index(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    assert [path.name for path in write_sharded(read_tensors(file), target, 10**9)] == ["model.safetensors"]
    assert not (target / "model.safetensors.index.json").exists()


@settings(max_examples=50)
@given(data=st.data())
def test_a_file_that_was_cut_off_anywhere_is_torn(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("torn") / "x.safetensors"
    save_file(ARRAYS, path)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(TornFile):
        read_tensors(path)


def test_a_file_with_something_behind_it_is_torn(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(TornFile, match="header announces"):
        read_tensors(file)


def test_a_header_that_is_no_object_is_torn(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(TornFile, match="damaged"):
        read_tensors(tmp_path / "x.safetensors")


def test_weights_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="initialization to random") as missing:
        read_directory(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WrongInput, match="copy the file again") as damaged:
        read_directory(tmp_path)
    assert (missing.value.reason, damaged.value.reason) == ("WeightsMissing", "WeightsDamaged")
