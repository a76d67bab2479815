"""Low-rank adapters: how MindFormers is asked for them, and what becomes of them in the export.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". A checkpoint of such a run has the base weights,
which were not trained, and two matrices for each target: A of the shape (rank, inputs), and B of the shape (outputs,
rank), which starts as zeros. They are exported twice: added to the weights, as any server reads a model, and by
themselves, as PEFT and vLLM read an adapter.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_runtime.contract import Lora
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.low_rank import LowRankUpdate
from distill_runtime.training.tensors import Content, Tensor, read_tensors, write_tensors
from distill_runtime.training.weight_names import adapter_in_huggingface, expected_shapes, module_in_mindformers

ADAPTER_DIRECTORY: Final = "adapter"
_WEIGHT: Final = ".weight"


def pet_config(lora: Lora) -> dict[str, Any]:
    """Give the keys of MindFormers' LoraConfig (pet/pet_config.py, 1.8).

    Its targets are a regular expression which the names of cells must begin with. Nothing is dropped out: a run that
    goes on from a checkpoint would draw other numbers. Adapters are float32 whatever the base is kept in.
    """
    cells = (module_in_mindformers(target).rpartition(".")[2] for target in lora.targets)
    return {
        "pet_type": "lora",
        "lora_rank": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "param_init_type": "float32",
        "target_modules": "|".join(f"{cell}$" for cell in sorted(cells)),
    }


def adapted_weights(lora: Lora, architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Give the name and shape, (outputs, inputs), of every weight that has an adapter, by HuggingFace's names."""
    endings = tuple(f".{target}{_WEIGHT}" for target in lora.targets)
    shapes = expected_shapes(architecture)
    return {name: (shape[0], shape[1]) for name, shape in shapes.items() if name.endswith(endings)}


def adapter_parameters(lora: Lora, architecture: Architecture) -> int:
    """Count the parameters of all adapters."""
    return sum(lora.rank * (outputs + inputs) for outputs, inputs in adapted_weights(lora, architecture).values())


@dataclass(frozen=True)
class Adapted:
    """The adapters of a run.

    Attributes:
        lora: as they were asked for.
        base: model.uri, which the adapter's own files name.
    """

    lora: Lora
    base: str

    def updates(self, files: Sequence[Path], architecture: Architecture) -> dict[str, LowRankUpdate]:
        """Find the adapters in checkpoint files, by the HuggingFace names of the weights that they are added to.

        Raises:
            WrongInput: WeightsMismatch, if they are not those that were asked for.
        """
        matrices: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for file in files:
            for name, tensor in read_tensors(file).items():
                try:
                    module, matrix = adapter_in_huggingface(name)
                except KeyError:
                    continue
                matrices[module + _WEIGHT][matrix] = tensor
        rank = self.lora.rank
        expected = {
            name: {"a": (rank, inputs), "b": (outputs, rank)}
            for name, (outputs, inputs) in adapted_weights(self.lora, architecture).items()
        }
        found = {name: {which: tensor.shape for which, tensor in pair.items()} for name, pair in matrices.items()}
        if found != expected:
            wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise WrongInput(
                "WeightsMismatch",
                f"the last checkpoint has not the adapters that training.lora asks for, of {wrong[0]} and "
                f"{len(wrong) - 1} more; create the object again, so that it trains anew",
            )
        scale = self.lora.alpha / rank
        return {name: LowRankUpdate(up=pair["b"], down=pair["a"], scale=scale) for name, pair in matrices.items()}

    def write(self, updates: Mapping[str, LowRankUpdate], target: Path) -> None:
        """Write the adapters as PEFT keeps them: adapter_config.json and adapter_model.safetensors.

        Format: huggingface/peft, utils/save_and_load.py and tuners/lora/config.py; what is absent is PEFT's default.
        """
        directory = target / ADAPTER_DIRECTORY
        directory.mkdir(exist_ok=True)
        tensors: dict[str, Content] = {}
        for name, update in updates.items():
            module = f"base_model.model.{name.removesuffix(_WEIGHT)}"
            tensors |= {f"{module}.lora_A.weight": update.down, f"{module}.lora_B.weight": update.up}
        write_tensors(tensors, directory / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base,
            "inference_mode": True,
            "r": self.lora.rank,
            "lora_alpha": self.lora.alpha,
            "lora_dropout": 0.0,
            "target_modules": list(self.lora.targets),
            "bias": "none",
            "fan_in_fan_out": False,
        }
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
