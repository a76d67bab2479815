"""Which of HuggingFace's weights each weight of MindFormers' network is made of, and how.

A network of the older kind has them one by one, under names of its own. One of the newer kind has query, key and value
as one, and gate and up-projection, rows of each in turns: `linear_qkv` the queries of a group of heads, its key, its
value, then those of the next group; `linear_fc1` a row of the gate, then one of the up-projection. So a device of a
tensor-parallel group, which has some of the rows, has whole groups. That is how MindFormers lays them out unless told
otherwise (parallel_core/mf_model_config.py, 1.8: use_contiguous_weight_layout_attention False and
use_interleaved_weight_layout_mlp True) and as it converts HuggingFace's itself (parallel_core/utils/model_mixin.py).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.tensors import Content, Tensor
from distill_runtime.training.weight_names import expected_shapes, to_huggingface, to_mindformers
from distill_runtime.training.woven import Strip, Woven

_NEWER_OUTSIDE_LAYERS: Final[Mapping[str, str]] = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "output_layer.weight": "lm_head.weight",
}
_NEWER_IN_LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    "input_layernorm": ("input_layernorm",),
    "self_attention.linear_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.q_layernorm": ("self_attn.q_norm",),
    "self_attention.k_layernorm": ("self_attn.k_norm",),
    "self_attention.linear_proj": ("self_attn.o_proj",),
    "pre_mlp_layernorm": ("post_attention_layernorm",),
    "mlp.linear_fc1": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.linear_fc2": ("mlp.down_proj",),
}
_NEWER_WEIGHT: Final = re.compile(r"(?:embedding|decoder|output_layer)\.(?:.+\.)?weight")


@dataclass(frozen=True)
class Part:
    """A weight of HuggingFace's within one of MindFormers'.

    Attributes:
        name: HuggingFace's.
        shape: of it.
        turns: in how many equal pieces it is there, each followed by one of the next part.
    """

    name: str
    shape: tuple[int, ...]
    turns: int


Layout = Mapping[str, tuple[Part, ...]]
"""The parts of each weight, by MindFormers' name."""


def weight_layout(architecture: Architecture) -> Layout:
    """Give what each weight of the network is made of."""
    shapes = expected_shapes(architecture)
    if not architecture.newer:
        return {to_mindformers(name): (Part(name, shape, turns=1),) for name, shape in shapes.items()}
    names: dict[str, tuple[str, ...]] = {
        stored: (name,) for stored, name in _NEWER_OUTSIDE_LAYERS.items() if name in shapes
    }
    for number in range(architecture.num_hidden_layers):
        names |= {
            f"decoder.layers.{number}.{stored}.weight": tuple(f"model.layers.{number}.{name}.weight" for name in parts)
            for stored, parts in _NEWER_IN_LAYERS.items()
        }
    turns = {"linear_qkv": architecture.num_key_value_heads, "linear_fc1": architecture.intermediate_size}
    return {
        stored: tuple(Part(name, shapes[name], turns.get(stored.split(".")[-2], 1)) for name in parts)
        for stored, parts in names.items()
    }


def is_weight(name: str) -> bool:
    """Tell a weight of any network from a state of the optimizer or of the training loop, by MindFormers' name."""
    if _NEWER_WEIGHT.fullmatch(name):
        return True
    try:
        to_huggingface(name)
    except KeyError:
        return False
    return True


def weave(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Content]:
    """Make MindFormers' weights of HuggingFace's, in files.

    Raises:
        WrongInput: WeightsMismatch, for weights that become one and have different dtypes.
    """
    return {stored: _weave([(part, tensors[part.name]) for part in parts]) for stored, parts in layout.items()}


def unweave(layout: Layout, stored: str, tensor: Tensor) -> Iterator[tuple[str, Content]]:
    """Take what a checkpoint has under one name apart.

    A weight that is not one of this network keeps its name, so that it is noticed; what is no weight is left out.
    """
    parts = layout.get(stored, ())
    if len(parts) == 1:
        yield parts[0].name, tensor
    elif parts and tensor.shape == _woven_shape(parts):
        yield from _unweave(parts, tensor)
    elif is_weight(stored):
        yield stored, tensor


def weave_arrays(arrays: Sequence[NDArray[Any]], parts: Sequence[Part]) -> NDArray[Any]:
    """Make one of MindFormers' weights of HuggingFace's in memory, whatever their dtype."""
    pieces = [array.reshape(part.turns, -1, *part.shape[1:]) for array, part in zip(arrays, parts, strict=True)]
    whole: NDArray[Any] = np.concatenate(pieces, axis=1).reshape(_woven_shape(parts))
    return whole


def _weave(parts: list[tuple[Part, Tensor]]) -> Content:
    if len(parts) == 1:
        return parts[0][1]
    if len({tensor.dtype for _, tensor in parts}) > 1:
        found = ", ".join(f"{part.name} is {tensor.dtype}" for part, tensor in parts)
        raise WrongInput("WeightsMismatch", f"{found}; MindFormers has them as one, so convert them to one dtype")
    strips = [
        Strip(file=tensor.file, start=tensor.start, length=length, stride=length)
        for part, tensor in parts
        for length in [tensor.bytes // part.turns]
    ]
    return Woven(parts[0][1].dtype, _woven_shape([part for part, _ in parts]), tuple(strips), parts[0][0].turns)


def _unweave(parts: Sequence[Part], tensor: Tensor) -> Iterator[tuple[str, Content]]:
    value_bytes, start = tensor.bytes // prod(tensor.shape), tensor.start
    period = tensor.bytes // parts[0].turns
    for part in parts:
        length = prod(part.shape) // part.turns * value_bytes
        yield part.name, Woven(tensor.dtype, part.shape, (Strip(tensor.file, start, length, period),), part.turns)
        start += length


def _woven_shape(parts: Sequence[Part]) -> tuple[int, ...]:
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
