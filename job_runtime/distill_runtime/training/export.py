"""From the last checkpoint to a model directory that anything reads: HuggingFace names, config, tokenizer."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from distill_runtime.process import child_process
from distill_runtime.training.architecture import CONFIG_NAME, Architecture
from distill_runtime.training.end_token import EndToken, stop_at
from distill_runtime.training.lora import Adapted
from distill_runtime.training.low_rank import Updated
from distill_runtime.training.tensors import Content, read_directory, read_tensors, rounded, write_sharded
from distill_runtime.training.weight_layout import unweave, weight_layout
from distill_runtime.training.weight_names import check_shapes

SHARD_BYTES: Final = 5 * 10**9
"""Largest weights file, as HuggingFace's own tools write them."""

_UNIFY_SECONDS: Final = 600
_UNIFY_BYTES_A_SECOND: Final = 30e6
"""How long putting the parts together may take: ten minutes, and what reading a checkpoint takes from a claim that is
slow and that others use too. A 7B model's, of 91 GB, has an hour."""

_COPIED: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
_DTYPES: Final[Mapping[str, str]] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Of PyTorch, as config.json has them, and of safetensors."""
_TIED: Final = "lm_head.weight"
_DTYPE_KEYS: Final = ("torch_dtype", "dtype")
"""What config.json calls the weights' dtype: until transformers 4.55, and since."""


def export_model(
    weights: list[Path],
    model: Path,
    architecture: Architecture,
    end_token: EndToken | None,
    adapted: Adapted | None,
    target: Path,
) -> None:
    """Write the trained model, its weights rounded to the dtype of the base.

    They are trained in float32 whatever the base is: a step of training is too small a change for halves. Once it is
    trained the difference is small, but the files, and what a server needs to hold them, are twice as large. Where
    adapters were trained, they are added to the weights, and written by themselves besides.

    Args:
        weights: files that together hold the whole weights under MindFormers' names, and may hold the optimizer's
            state besides.
        model: directory of the base model, whose config.json and tokenizer the trained one keeps.
        end_token: what it has learned to end an answer with; None leaves what the base says.
        adapted: the adapters that were trained; None if all weights were.
        target: an existing directory.

    Raises:
        WrongInput: WeightsMismatch, if the checkpoint is not one of this architecture; WeightsTooLarge, if a weight is
            beyond what the base's dtype can hold.
    """
    tensors = trained_weights(weights, architecture)
    if adapted is not None:
        updates = adapted.updates(weights, architecture)
        tensors |= {name: Updated(tensors[name], update) for name, update in updates.items() if name in tensors}
        adapted.write(updates, target)
    if architecture.tie_word_embeddings:
        # The same as the embedding; HuggingFace leaves it out, and so would a reader's tied layer.
        tensors.pop(_TIED, None)
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, architecture, "the last checkpoint")
    config = json.loads((model / CONFIG_NAME).read_bytes())
    dtype = _DTYPES[base_dtype(config, model)]
    tensors = {name: rounded(tensor, dtype) for name, tensor in tensors.items()}
    write_sharded(tensors, target, SHARD_BYTES)
    for name in _COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, target / name)
    written = next(iter(tensors.values())).dtype
    names = {name: torch_dtype for torch_dtype, name in _DTYPES.items()}
    config |= {key: names[written] for key in _DTYPE_KEYS if key in config or key == _DTYPE_KEYS[0]}
    (target / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    stop_at(end_token, target)


def base_dtype(config: Mapping[str, object], model: Path) -> str:
    """Give the dtype of the base model as PyTorch calls it.

    It is what config.json says, or else that of the weights; float32 for a model that has none and says nothing.
    """
    for key in _DTYPE_KEYS:
        if config.get(key) in _DTYPES:
            return str(config[key])
    weights = read_directory(model) if any(model.glob("*.safetensors")) else {}
    stored = {tensor.dtype for name, tensor in weights.items() if name.endswith("embed_tokens.weight")}
    return next((torch_dtype for torch_dtype, name in _DTYPES.items() if name in stored), "float32")


def unify_checkpoint(checkpoint: Path, strategies: Path, target: Path, logs: Path) -> list[Path]:
    """Put the parts of the weights that each worker saved together, in a process of its own (see `unify`).

    Returns:
        The files with whole tensors.

    Raises:
        Retryable: ChildFailed; ChildTimedOut.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    arguments = [str(checkpoint), str(strategies), str(target)]
    stored = sum(file.stat().st_size for file in checkpoint.glob("*/*.safetensors"))
    seconds = _UNIFY_SECONDS + stored / _UNIFY_BYTES_A_SECOND
    child_process.start("unify", "distill_runtime.training.unify", arguments, {}, logs).wait(seconds)
    return sorted(target.glob("*.safetensors"))


def trained_weights(files: list[Path], architecture: Architecture) -> dict[str, Content]:
    """Find the weights in checkpoint files, by their HuggingFace names, in the order in which they are stored."""
    layout = weight_layout(architecture)
    return {
        name: content
        for file in files
        for stored, tensor in read_tensors(file).items()
        for name, content in unweave(layout, stored, tensor)
    }
