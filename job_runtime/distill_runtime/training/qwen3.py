"""The keys of MindFormers' Qwen3Config: a network of its newer kind, put together as Megatron's are.

Its model_config takes HuggingFace's names (models/qwen3/configuration_qwen3.py, 1.8) and, for all else, those of
MFModelConfig; TransformerConfig is made of both. The same values may be given under other names too, by which an
override would train another network than config.json describes.
"""

from collections.abc import Mapping
from typing import Any, Final

from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.training.architecture import Architecture

QWEN3_CONFIG_SOURCES: Final[Mapping[str, str]] = {
    key: key
    for key in (
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "vocab_size",
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "tie_word_embeddings",
        "initializer_range",
    )
} | {"architectures": "model_type"}
"""Every key that `qwen3_config` gives, and the key of config.json that decides it."""

OTHER_NAMES: Final[Mapping[str, str]] = {
    "n_head": "num_attention_heads",
    "num_query_groups": "num_key_value_heads",
    "kv_channels": "head_dim",
    "ffn_hidden_size": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "layernorm_epsilon": "rms_norm_eps",
    "layer_norm_epsilon": "rms_norm_eps",
    "rotary_base": "rope_theta",
    "rope_scaling": "rope_scaling",
    "use_rope_scaling": "rope_scaling",
    "position_embedding_type": "rope_scaling",
    "add_qkv_bias": "attention_bias",
    "add_bias_linear": "attention_bias",
    "hidden_act": "hidden_act",
    "normalization": "model_type",
    "gated_linear_unit": "model_type",
    "num_experts": "model_type",
    "num_moe_experts": "model_type",
}
"""Other keys by which MindFormers would make it another network, and the key of config.json that they are about."""

QWEN3_KINDS: Final[Mapping[DeviceTarget, Mapping[str, Any]]] = {
    # With flash attention on, its inputs would be cut to float16; `cpu_patches` has what takes its place.
    "CPU": {"compute_dtype": "float32", "use_flash_attention": False},
    "Ascend": {"compute_dtype": "bfloat16", "use_flash_attention": True, "fp32_residual_connection": True},
}
QWEN3_PRECISE: Final[Mapping[str, Any]] = {
    "param_init_type": "float32",
    "layernorm_compute_dtype": "float32",
    "softmax_compute_dtype": "float32",
    "rotary_dtype": "float32",
}


def qwen3_config(architecture: Architecture) -> dict[str, Any]:
    """Give the keys of Qwen3Config that follow from the architecture alone."""
    return {
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_size": architecture.hidden_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
        "num_key_value_heads": architecture.num_key_value_heads,
        "head_dim": architecture.head_size,
        "intermediate_size": architecture.intermediate_size,
        "vocab_size": architecture.vocab_size,
        "rms_norm_eps": architecture.rms_norm_eps,
        "rope_theta": architecture.rope_theta,
        "max_position_embeddings": architecture.max_position_embeddings,
        "tie_word_embeddings": architecture.tie_word_embeddings,
        "initializer_range": architecture.initializer_range,
    }
