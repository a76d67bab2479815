"""Which layers of each stage of the pipeline are computed again in the backward pass.

Source: `LayerSetting` of MindFormers 1.8 (parallel_core/training_graph/transformer/utils.py; 1.6 had it in
models/utils.py), which reads `recompute_config` and `offset` in this way. Every list has one number a stage: that many
of its first layers. `select_recompute: true` stands for SiLU and the product after it. MindFormers' performance guide
has seen it without effect where the reshapes around them were not named too ("Silu-Mul Recomputation Not in Effect");
it is taken at its word here, as what may fit must not be refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distill_runtime.foundation.errors import WrongInput

_PRODUCTS: Final = (r"feed_forward\.mul", r"mlp\.mul")
"""The product after SiLU, as a network of the older kind and one of the newer name it."""


@dataclass(frozen=True)
class StageLayers:
    """The layers of one stage of the pipeline.

    Attributes:
        layers: how many it has.
        recomputed: of which only the input is kept.
        activation_recomputed: of the others, those of which SiLU and its product are not kept.
        communication_recomputed: of the others, those whose inputs are gathered again over the tensor-parallel group.
    """

    layers: int
    recomputed: int
    activation_recomputed: int
    communication_recomputed: int


def read_stages(model: Mapping[str, Any], recompute: Mapping[str, Any], pipeline: int) -> tuple[StageLayers, ...]:
    """Give the layers of each of `pipeline` stages, by the YAML's `model_config` and `recompute_config`.

    Raises:
        WrongInput: OverrideInvalid, for what MindFormers refuses as well.
    """
    layers = model["num_layers"] if "num_layers" in model else model["num_hidden_layers"]
    counts = _layers(layers, model.get("offset", 0), pipeline)
    full = _first_layers(recompute.get("recompute", False), "recompute", counts)
    activation = _first_layers(_activation(recompute.get("select_recompute", False)), "select_recompute", counts)
    communication = _first_layers(recompute.get("select_comm_recompute", False), "select_comm_recompute", counts)
    return tuple(
        StageLayers(count, again, max(0, selected - again), max(0, gathered - again))
        for count, again, selected, gathered in zip(counts, full, activation, communication, strict=True)
    )


def _layers(layers: int, offset: object, pipeline: int) -> list[int]:
    offsets = [0] * pipeline if offset == 0 else offset
    if not isinstance(offsets, list) or len(offsets) != pipeline or not all(isinstance(each, int) for each in offsets):
        raise _invalid("model.model_config.offset", offset, pipeline)
    return [layers // pipeline + each for each in offsets]


def _activation(value: Any) -> Any:
    """Give the part of `select_recompute` by which neither SiLU nor the product after it is kept."""
    if not isinstance(value, list | Mapping) or _numbers(value):
        return value
    product = next((name for name in _PRODUCTS if name in value), None)
    if product is None or not any("activat" in name for name in value):
        return False
    return value[product] if isinstance(value, Mapping) else True


def _numbers(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


def _first_layers(value: object, key: str, counts: list[int]) -> list[int]:
    """Give for each stage how many of its first layers the value of a key is for."""
    match value:
        case bool():
            return [count * value for count in counts]
        case {**chosen} if chosen:  # operators, each with a value of its own: those layers that all are for
            each = [_first_layers(below, key, counts) for below in chosen.values()]
            return [min(stage) for stage in zip(*each, strict=True)]
        case [*numbers] if len(numbers) == len(counts) and _numbers(numbers):
            return [_first(number, count) for number, count in zip(numbers, counts, strict=True)]
        case [*operators] if operators and all(isinstance(name, str) for name in operators):
            return counts
        case _:
            raise _invalid(f"recompute_config.{key}", value, len(counts))


def _first(number: Any, count: int) -> int:
    return count * number if isinstance(number, bool) else min(number, count)


def _invalid(key: str, value: object, pipeline: int) -> WrongInput:
    return WrongInput(
        "OverrideInvalid",
        f"mindformers.{key} is {value!r}; MindFormers takes true, false or a list with one number for each of the "
        f"stages of the pipeline, which has {pipeline}",
    )
