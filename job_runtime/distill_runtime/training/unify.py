"""Whole weights from a checkpoint of which each worker holds a part.

`python -m distill_runtime.training.unify CHECKPOINT STRATEGIES TARGET`, as a process of its own because it loads
MindSpore. It needs no device.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from distill_runtime.contract import EXIT_DONE
from distill_runtime.process.child_process import end_with_parent
from distill_runtime.training import patching
from distill_runtime.training.weight_layout import is_weight
from distill_runtime.training.weight_names import is_adapter

_MERGED_NAME: Final = "strategy.ckpt"


def take_one_file_of_memory(module: Any) -> None:
    """Have whole weights written with the memory of one file, however full the node's is.

    After each file unified_safetensors sleeps while more than half of the *node's* memory is in use (parallel/
    transform_safetensors.py, 2.7). On a node that others use too that may be for ever, long after all is written; it is
    no measure of this container's memory either. Before the first it reads and writes what the first worker has besides
    the weights, its part of the optimizer's states, all at once and to no use here.
    """
    module.psutil = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(percent=0.0))
    module._save_hyper_param = lambda *_: None


PATCHES: patching.Patches = {"mindspore.parallel.transform_safetensors": take_one_file_of_memory}
_PROCESSES: Final = 1
"""Files that are made at a time; each takes as much memory as it has bytes, which are 3 GiB of weights or a little more
(by the source; with a file of 1 GiB 1.2 GB were measured). By default it is up to 64 files."""


def main(checkpoint: Path, strategies: Path, target: Path) -> int:
    """Write the weights.

    Args:
        checkpoint: directory with rank_<n>/*.safetensors.
        strategies: directory with the parallel strategy that each worker's MindFormers saved, of all stages.
        target: an empty directory, for *.safetensors with whole tensors under the same names.
    """
    end_with_parent()
    patching.install(PATCHES)
    import mindspore  # noqa: PLC0415 - takes a second, and this module's constants must not

    merged = target.parent / _MERGED_NAME
    mindspore.merge_pipeline_strategys(str(strategies), str(merged))
    mindspore.unified_safetensors(
        src_dir=str(checkpoint),
        src_strategy_file=str(merged),
        dst_dir=str(target),
        max_process_num=_PROCESSES,
        choice_func=_is_exported,
    )
    return EXIT_DONE


def _is_exported(name: str) -> bool:
    """Tell weights and adapters from the optimizer's states, which take twice the room."""
    return is_weight(name) or is_adapter(name)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
