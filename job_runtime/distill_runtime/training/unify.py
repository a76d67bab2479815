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
from distill_runtime.training.weight_names import to_huggingface

_MERGED_NAME: Final = "strategy.ckpt"


def wait_for_no_memory(module: Any) -> None:
    """Have files written one after another, however full the node's memory is.

    After each, unified_safetensors sleeps while more than half of the *node's* memory is in use (parallel/
    transform_safetensors.py, 2.7). On a node that others use too that may be for ever, long after all is written; it is
    no measure of this container's memory either, of which there is one file's at a time.
    """
    module.psutil = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(percent=0.0))


PATCHES: patching.Patches = {"mindspore.parallel.transform_safetensors": wait_for_no_memory}


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
        choice_func=_is_weight,
    )
    return EXIT_DONE


def _is_weight(name: str) -> bool:
    """Tell a weight from a state of the optimizer, which takes twice the room."""
    try:
        to_huggingface(name)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
