"""Whether the claim can take what a run writes: room for its checkpoints, and a file system that all nodes share."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.artifact import work_directory
from distill_runtime.storage.filesystem import free_bytes, local_kind
from distill_runtime.storage.volume import Volume
from distill_runtime.training.architecture import CONFIG_NAME
from distill_runtime.training.export import base_dtype
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.lora import adapter_parameters
from distill_runtime.training.weight_names import expected_shapes

_WIDTHS: Final[Mapping[str, int]] = {"float32": 4, "float16": 2, "bfloat16": 2}
_ADAM: Final = 3
"""The weight and its two moments, of one dtype (MindFormers, core/optim/adamw.py)."""
_ADAPTER_BYTES: Final = 4
"""Of an adapter's parameter, whatever the base is kept in."""
_GIGABYTE: Final = 10**9


def check_shared(contract: TrainContract, volume: Volume) -> None:
    """Check that several nodes can mount the claim at once, as far as one of them can tell.

    The operator may not read PersistentVolumeClaims, and their access modes are only what somebody declared. The kind
    of the file system is what there is. A cluster whose nodes are all one machine is refused with it.

    Raises:
        WrongInput: ClaimNotShared.
    """
    kind = local_kind(volume.root)
    if contract.nodes > 1 and kind is not None:
        raise WrongInput(
            "ClaimNotShared",
            f"accelerator.nodes is {contract.nodes}, and storage.claimName is a file system of one node's own, {kind}, "
            "which no other node can mount beside it; use a claim with access mode ReadWriteMany, such as on NFS, "
            "CephFS or Lustre, or accelerator.nodes 1",
        )


def check_space(
    contract: TrainContract, inputs: TrainingInputs, configuration: Mapping[str, Any], volume: Volume
) -> None:
    """Check that the checkpoints that are kept, the one that is being written and the exported weights find room, and
    of Qwen3 the base's weights as MindFormers names them.

    It is the least that they take: with the optimizer spread over devices that share the weights, one copy of all. What
    an earlier attempt has left of them has its room already.

    Args:
        configuration: the content of the YAML.

    Raises:
        WrongInput: ClaimTooSmall, with the numbers.
    """
    free = free_bytes(volume.root)
    if free is None:
        return
    checkpoint = checkpoint_bytes(contract, inputs, configuration)
    weights = exported_bytes(inputs)
    placed = weights if inputs.architecture.newer and contract.model.initialization == "pretrained" else 0
    kept = contract.checkpoint.keep + (contract.checkpoint.export == "best")
    there = _bytes_in(work_directory(volume.resolve(contract.output)))
    needed = (kept + 1) * checkpoint + weights + placed - there
    if needed > free:
        raise WrongInput(
            "ClaimTooSmall",
            f"the claim has {_gigabytes(free)} free, but the run takes {_gigabytes(needed)}"
            f"{' more' if there else ''}: {kept} checkpoints that are kept and one being written, of "
            f"{_gigabytes(checkpoint)} each, and the exported weights, {_gigabytes(weights)}"
            f"{', as much as the copy of the base that MindFormers loads' if placed else ''}; enlarge the claim or "
            "remove what is not needed, or lower checkpoint.keep",
        )


def checkpoint_bytes(contract: TrainContract, inputs: TrainingInputs, configuration: Mapping[str, Any]) -> int:
    """Give the size of a checkpoint of all workers.

    On CPU every worker saves the whole state. On Ascend each saves its part; devices that have the same part, by data
    or context parallelism, save it each, unless the parallel optimizer divides it among them, as it does with what is
    trained. With adapters the base weights are saved besides, without moments.
    """
    width = _WIDTHS.get(configuration["model"]["model_config"]["param_init_type"], 2)
    states = _ADAM if configuration["optimizer"]["type"] == "AdamW" else 1
    lora = contract.training.lora
    if lora is None:
        saved = states * width * _parameters(inputs)
    else:
        saved = width * _parameters(inputs) + states * _ADAPTER_BYTES * adapter_parameters(lora, inputs.architecture)
    if contract.device_target == "CPU":
        copies = inputs.schedule.devices
    elif configuration["parallel"]["enable_parallel_optimizer"] and lora is None:
        copies = 1
    else:
        copies = inputs.schedule.data_parallel * contract.parallelism.context
    return copies * saved


def exported_bytes(inputs: TrainingInputs) -> int:
    """Give the size of the exported weights, which have the base's dtype."""
    config = json.loads((inputs.model / CONFIG_NAME).read_bytes())
    return _WIDTHS[base_dtype(config, inputs.model)] * _parameters(inputs)


def _parameters(inputs: TrainingInputs) -> int:
    return sum(math.prod(shape) for shape in expected_shapes(inputs.architecture).values())


def _bytes_in(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def _gigabytes(amount: int) -> str:
    return f"{amount / _GIGABYTE:,.1f} GB"
