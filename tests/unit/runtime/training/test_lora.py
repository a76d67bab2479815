"""Low-rank adapters: what MindFormers is asked for, and the files that come of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.student import CONFIG, write_student

from distill_runtime.contract import Lora
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training import tensors
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.export import export_model
from distill_runtime.training.lora import Adapted, pet_config
from distill_runtime.training.rounding import round_values, widen_values
from distill_runtime.training.weight_names import expected_shapes, to_mindformers

ARCHITECTURE = Architecture.model_validate(CONFIG)
LORA = Lora(rank=2, alpha=3, targets=("q_proj", "down_proj"))
Weights = dict[str, NDArray[np.float32]]


def test_mindformers_is_asked_for_cells_by_its_own_names() -> None:
    assert pet_config(LORA) == {
        "pet_type": "lora",
        "lora_rank": 2,
        "lora_alpha": 3,
        "lora_dropout": 0.0,
        "param_init_type": "float32",
        "target_modules": "w2$|wq$",
    }
    assert pet_config(Lora())["target_modules"] == "w1$|w2$|w3$|wk$|wo$|wq$|wv$"


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Weights, Weights]:
    """Leave a checkpoint with adapters; gives the base weights, and the products of the adapters."""
    random = np.random.default_rng(0)
    base = {name: random.normal(size=shape).astype(np.float32) for name, shape in expected_shapes(ARCHITECTURE).items()}
    content, products = {to_mindformers(name): array for name, array in base.items()}, {}
    for name in [name for name in base if name.endswith(("q_proj.weight", "down_proj.weight"))]:
        outputs, inputs = base[name].shape
        down, up = (random.normal(size=shape).astype(np.float32) for shape in ((2, inputs), (outputs, 2)))
        module = to_mindformers(name).removesuffix(".weight")
        adapter = {f"{module}.mindpet_delta_lora_a": down, f"{module}.mindpet_delta_lora_b": up}
        content |= adapter | {f"adam_m.{matrix}": array * 0 for matrix, array in adapter.items()}
        products[name] = up @ down
    save_file(content, tmp_path / "checkpoint.safetensors")
    return base, products


def export(root: Path, lora: Lora = LORA, **config: object) -> Path:
    target = root / "trained"
    target.mkdir(exist_ok=True)
    model = write_student(root / "student", **config)
    export_model([root / "checkpoint.safetensors"], model, ARCHITECTURE, None, Adapted(lora, "models/base"), target)
    return target


def test_adapters_are_added_to_the_weights_and_nothing_else_has_changed(
    tmp_path: Path, trained: tuple[Weights, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "COPY_BYTES", 1000)  # several pieces, the last of them shorter
    base, products = trained
    exported = load_file(export(tmp_path) / "model.safetensors")
    assert exported.keys() == base.keys()
    for name, array in base.items():
        if name in products:
            assert exported[name] == pytest.approx(array + 1.5 * products[name], abs=1e-5)
        else:
            assert np.array_equal(exported[name], array)


def test_added_in_float32_they_are_rounded_once(tmp_path: Path, trained: tuple[Weights, Weights]) -> None:
    base, products = trained
    name = next(iter(products))
    wide = export(tmp_path) / "model.safetensors"
    values = load_file(wide)[name].tobytes()
    halves = export(tmp_path, torch_dtype="bfloat16") / "model.safetensors"
    tensor = tensors.read_tensors(halves)[name]
    assert (tensor.dtype, tensor.shape) == ("BF16", base[name].shape)
    assert halves.read_bytes()[tensor.start : tensor.start + tensor.bytes] == round_values(values, "BF16")


def test_a_base_that_is_kept_in_halves_is_widened_first(tmp_path: Path, trained: tuple[Weights, Weights]) -> None:
    base, products = trained
    checkpoint = tmp_path / "checkpoint.safetensors"
    stored = tensors.read_tensors(checkpoint)
    halved = {name: tensor if "mindpet" in name else tensors.rounded(tensor, "BF16") for name, tensor in stored.items()}
    tensors.write_tensors(halved, tmp_path / "halved.safetensors")
    (tmp_path / "halved.safetensors").rename(checkpoint)
    written = tensors.read_tensors(export(tmp_path, torch_dtype="float32") / "model.safetensors")
    for name, product in products.items():
        half = widen_values(round_values(base[name].tobytes(), "BF16"), "BF16").reshape(product.shape)
        content = written[name].file.read_bytes()[written[name].start :][: written[name].bytes]
        assert widen_values(content, "F32").reshape(product.shape) == pytest.approx(half + 1.5 * product, abs=1e-5)


def test_the_adapter_by_itself_has_peft_s_names_and_settings(tmp_path: Path, trained: tuple[Weights, Weights]) -> None:
    _, products = trained
    directory = export(tmp_path) / "adapter"
    weights = load_file(directory / "adapter_model.safetensors")
    assert len(weights) == 2 * len(products)
    for name, product in products.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        assert np.array_equal(weights[f"{module}.lora_B.weight"] @ weights[f"{module}.lora_A.weight"], product)
    config = json.loads((directory / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"], config["base_model_name_or_path"]) == (
        "LORA",
        "CAUSAL_LM",
        "models/base",
    )
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, 3, ["q_proj", "down_proj"])


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("other", [Lora(rank=4, targets=LORA.targets), Lora(rank=2), Lora(rank=2, targets=["q_proj"])])
def test_other_adapters_than_were_asked_for_are_refused(tmp_path: Path, other: Lora) -> None:
    with pytest.raises(WrongInput, match="has not the adapters that training") as refused:
        export(tmp_path, other)
    assert refused.value.reason == "WeightsMismatch"
