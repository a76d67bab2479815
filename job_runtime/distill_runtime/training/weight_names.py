"""The names and shapes of a model's weights, in HuggingFace's terms and in those of MindFormers' Llama."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture

_OUTSIDE_LAYERS: Final[Mapping[str, str]] = {
    "model.embed_tokens.weight": "model.tok_embeddings.embedding_weight",
    "model.norm.weight": "model.norm_out.weight",
    "lm_head.weight": "lm_head.weight",
}
_IN_LAYERS: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
_LAYER: Final = re.compile(r"(?P<layer>model\.layers\.\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)")
_ADAPTER: Final = re.compile(r"(?P<layer>model\.layers\.\d+)\.(?P<module>.+)\.mindpet_delta_lora_(?P<matrix>[ab])")
_NAMED_AT_MOST: Final = 5


def to_mindformers(name: str) -> str:
    """Translate a HuggingFace weight's name.

    Raises:
        KeyError: if no Llama-like model has such a weight.
    """
    return _translate(name, _OUTSIDE_LAYERS, _IN_LAYERS)


def to_huggingface(name: str) -> str:
    """Translate a MindFormers weight's name.

    Raises:
        KeyError: if it is no weight of the model, but a state of the optimizer or of the training loop.
    """
    return _translate(
        name,
        {mindformers: huggingface for huggingface, mindformers in _OUTSIDE_LAYERS.items()},
        {mindformers: huggingface for huggingface, mindformers in _IN_LAYERS.items()},
    )


def is_adapter(name: str) -> bool:
    """Tell a matrix of a low-rank adapter, by MindFormers' name."""
    return _ADAPTER.fullmatch(name) is not None


def adapter_in_huggingface(name: str) -> tuple[str, str]:
    """Give the module that a matrix of a low-rank adapter belongs to, by its HuggingFace name, and which it is, a or b.

    Raises:
        KeyError: if it is no such matrix.
    """
    match = _ADAPTER.fullmatch(name)
    modules = {mindformers: huggingface for huggingface, mindformers in _IN_LAYERS.items()}
    if match is None:
        raise KeyError(name)
    return f"{match['layer']}.{modules[match['module']]}", match["matrix"]


def module_in_mindformers(projection: str) -> str:
    """Give what MindFormers calls a projection, such as q_proj, within a layer."""
    return next(ours for theirs, ours in _IN_LAYERS.items() if theirs.endswith(f".{projection}"))


def expected_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every weight, as HuggingFace stores them."""
    hidden, inner = architecture.hidden_size, architecture.intermediate_size
    query, key_value = architecture.query_size, architecture.key_value_size
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key_value, hidden),
        "self_attn.v_proj.weight": (key_value, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    if architecture.query_key_value_bias:
        layer |= {
            "self_attn.q_proj.bias": (query,),
            "self_attn.k_proj.bias": (key_value,),
            "self_attn.v_proj.bias": (key_value,),
        }
    if architecture.attention_output_bias:
        layer["self_attn.o_proj.bias"] = (hidden,)
    if architecture.query_key_norm:
        layer |= {f"self_attn.{name}_norm.weight": (architecture.head_size,) for name in "qk"}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (architecture.vocab_size, hidden)}
    for number in range(architecture.num_hidden_layers):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not architecture.tie_word_embeddings:
        shapes["lm_head.weight"] = (architecture.vocab_size, hidden)
    return shapes


def check_shapes(found: Mapping[str, tuple[int, ...]], architecture: Architecture, where: str) -> None:
    """Compare weights with what config.json says they are.

    Args:
        where: the weights' place, for the message.

    Raises:
        WrongInput: WeightsMismatch, naming what is missing, unexpected or of another shape.
    """
    expected = expected_shapes(architecture)
    optional = {"lm_head.weight"} if architecture.tie_word_embeddings else set()
    problems = [f"missing {_some(sorted(expected.keys() - found.keys()))}"] if expected.keys() - found.keys() else []
    # Some exporters store rotary frequencies, which follow from config.json.
    unexpected = {
        name for name in found.keys() - expected.keys() - optional if not name.endswith("rotary_emb.inv_freq")
    }
    if unexpected:
        problems.append(f"unexpected {_some(sorted(unexpected))}")
    shapes = [
        f"{name} is {found[name]}, config.json says {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if shapes:
        problems.append(_some(shapes))
    if problems:
        raise WrongInput(
            "WeightsMismatch",
            f"the weights in {where} are not those of its config.json: {'; '.join(problems)}. "
            "Take both from the same model",
        )


def _translate(name: str, outside: Mapping[str, str], inside: Mapping[str, str]) -> str:
    if match := _LAYER.fullmatch(name):
        return f"{match['layer']}.{inside[match['module']]}.{match['kind']}"
    return outside[name]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + more
