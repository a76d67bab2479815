"""Qwen2 and Qwen3 in numpy, as transformers computes them (modeling_qwen2.py, modeling_qwen3.py): to tell whether
weights mean what they must."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def next_token_logits(config: Mapping[str, Any], weights: Mapping[str, Array], tokens: Sequence[int]) -> Array:
    """Give float32 (vocabulary,): what follows the tokens."""
    heads, key_value_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", config["hidden_size"] // heads)
    length = len(tokens)
    frequencies = 1 / config["rope_theta"] ** (np.arange(0, size, 2) / size)
    angles = np.tile(np.outer(np.arange(length), frequencies), 2)
    cosine, sine = np.cos(angles), np.sin(angles)

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[f"{name}.weight"]

    def project(x: Array, name: str) -> Array:
        bias = weights.get(f"{name}.bias")
        return x @ weights[f"{name}.weight"].T + (0 if bias is None else bias)

    def rotate(x: Array) -> Array:
        half = size // 2
        return x * cosine + np.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sine

    hidden = weights["model.embed_tokens.weight"][list(tokens)]
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        x = norm(hidden, f"{layer}.input_layernorm")
        query, key, value = (
            project(x, f"{layer}.self_attn.{name}_proj").reshape(length, count, size).transpose(1, 0, 2)
            for name, count in (("q", heads), ("k", key_value_heads), ("v", key_value_heads))
        )
        if f"{layer}.self_attn.q_norm.weight" in weights:  # Qwen3
            query, key = norm(query, f"{layer}.self_attn.q_norm"), norm(key, f"{layer}.self_attn.k_norm")
        key, value = (np.repeat(x, heads // key_value_heads, axis=0) for x in (rotate(key), value))
        scores = rotate(query) @ key.transpose(0, 2, 1) / np.sqrt(size)
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        mixed = (attention @ value).transpose(1, 0, 2).reshape(length, -1)
        hidden = hidden + project(mixed, f"{layer}.self_attn.o_proj")
        x = norm(hidden, f"{layer}.post_attention_layernorm")
        gate = project(x, f"{layer}.mlp.gate_proj")
        hidden = hidden + project(
            gate / (1 + np.exp(-gate)) * project(x, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj"
        )
    return norm(hidden, "model.norm")[-1] @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T
