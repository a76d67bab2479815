"""The student's architecture: HuggingFace's config.json in, MindFormers' LlamaConfig out (Qwen3's: see `qwen3`).

MindFormers' LlamaForCausalLM covers the models whose decoder layer is Llama's: rotary positions, RMS norm before
attention and feed-forward, grouped-query attention, SwiGLU. Qwen2 and Qwen2.5 differ from Llama by a bias on query,
key and value. Qwen3 has a norm on query and key, and heads of any width; MindFormers trains it by a network of its
newer kind. Mixtures of experts and sliding windows are other layers; training them as if they were these would run and
be wrong, so they are refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill_runtime.foundation.errors import WrongInput

CONFIG_NAME = "config.json"
SUPPORTED: Final = (
    "qwen2 (Qwen2, Qwen2.5 and models distilled into them), qwen3 (dense Qwen3) and llama (Llama 2, 3, 3.1, 3.2)"
)
_MIXTURES: Final = frozenset({"qwen2_moe", "qwen3_moe", "mixtral"})
_QWEN3_HEAD_DIM: Final = 128
"""Where a Qwen3's config.json has no head_dim (transformers, configuration_qwen3.py)."""


class RopeScaling(BaseModel):
    """Llama 3.1's stretched rotary positions; no other kind is supported."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rope_type: Literal["llama3"]
    factor: float = Field(ge=1)
    low_freq_factor: float = Field(gt=0)
    high_freq_factor: float = Field(gt=0)
    original_max_position_embeddings: int = Field(ge=1)

    @model_validator(mode="before")
    @classmethod
    def _older_name(cls, values: Any) -> Any:
        """Take `type`, which `rope_type` was called before transformers 4.43."""
        if isinstance(values, dict) and "type" in values:
            return {"rope_type": values["type"], **values}
        return values


class Architecture(BaseModel):
    """What of a config.json decides the network's shape and arithmetic, under its HuggingFace names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["qwen2", "qwen3", "llama"]
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    rms_norm_eps: float = Field(gt=0)
    rope_theta: float = Field(default=10000.0, gt=0)
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    hidden_act: Literal["silu"] = "silu"
    use_sliding_window: Literal[False] = False
    attention_bias: bool = False
    mlp_bias: Literal[False] = False
    head_dim: int | None = None
    initializer_range: float = Field(default=0.02, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _dense(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model_type") in _MIXTURES:
            raise ValueError(
                f"{values['model_type']} is a mixture of experts; the weights of experts cannot be exported, nor what "
                "they take of a device be estimated"
            )
        return values

    @model_validator(mode="before")
    @classmethod
    def _multi_head(cls, values: Any) -> Any:
        """Without num_key_value_heads each head has its own key and value, as in Llama 1 and 2."""
        if isinstance(values, dict) and values.get("num_key_value_heads") is None:
            return {**values, "num_key_value_heads": values.get("num_attention_heads")}
        return values

    @model_validator(mode="before")
    @classmethod
    def _newer_rotary_positions(cls, values: Any) -> Any:
        """Take `rope_parameters`, in which transformers 5 has what were `rope_theta` and `rope_scaling`."""
        if isinstance(values, dict) and values.get("rope_parameters") is not None:
            return values | _rotary_positions(values)
        return values

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size is no multiple of num_attention_heads")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads is no multiple of num_key_value_heads")
        if not self.newer and self.head_dim not in (None, self.head_size):
            raise ValueError(
                f"head_dim {self.head_dim} is not hidden_size / num_attention_heads = {self.head_size}, "
                "which MindFormers takes for granted"
            )
        return self

    @model_validator(mode="after")
    def _what_mindformers_reads_of_qwen3(self) -> Self:
        """MindFormers' Qwen3 has neither of these, and would go on without (models/qwen3/modeling_qwen3_train.py)."""
        for key in ("attention_bias", "rope_scaling"):
            if self.newer and getattr(self, key):
                raise ValueError(f"{key} is set, which MindFormers does not read of a Qwen3")
        return self

    @property
    def newer(self) -> bool:
        """Whether MindFormers has it as a network of its newer kind (`use_legacy: False`)."""
        return self.model_type == "qwen3"

    @property
    def head_size(self) -> int:
        """Width of an attention head."""
        if self.newer:
            return self.head_dim or _QWEN3_HEAD_DIM
        return self.hidden_size // self.num_attention_heads

    @property
    def query_size(self) -> int:
        """Width of all queries of a layer."""
        return self.head_size * self.num_attention_heads

    @property
    def key_value_size(self) -> int:
        """Width of all keys, or all values, of a layer."""
        return self.head_size * self.num_key_value_heads

    @property
    def query_key_value_bias(self) -> bool:
        """Whether query, key and value are projected with a bias."""
        return self.model_type == "qwen2" or self.attention_bias

    @property
    def query_key_norm(self) -> bool:
        """Whether each head's query and key are normed."""
        return self.model_type == "qwen3"

    @property
    def attention_output_bias(self) -> bool:
        """Whether attention's output is projected with a bias."""
        return self.model_type == "llama" and self.attention_bias


def _rotary_positions(values: dict[str, Any]) -> dict[str, Any]:
    """Give the rope_theta and rope_scaling of a config.json that has `rope_parameters`.

    Raises:
        ValueError: if the top level has other ones, if there is no theta, or one for each type of layer.
    """
    nested = values["rope_parameters"]
    if not isinstance(nested, dict) or any(isinstance(value, dict) for value in nested.values()):
        raise ValueError("rope_parameters is not one set of parameters for all layers")
    theta = nested.get("rope_theta", values.get("rope_theta"))
    if theta is None:
        raise ValueError("rope_parameters has no rope_theta")
    scaling = {key: value for key, value in nested.items() if key != "rope_theta"}
    scaled = scaling.get("rope_type", scaling.get("type", "default")) != "default"
    found = {"rope_theta": theta, "rope_scaling": scaling if scaled else None}
    for key, value in found.items():
        if values.get(key) not in (None, value):
            raise ValueError(
                f"{key} is {values[key]} at the top level, but {value} by rope_parameters; remove the wrong one"
            )
    return found


def read_architecture(model_directory: Path) -> Architecture:
    """Read a model directory's config.json.

    Raises:
        WrongInput: ModelConfigMissing or UnsupportedModel, naming each key that is in the way.
    """
    path = model_directory / CONFIG_NAME
    text = _read_config(path)
    try:
        return Architecture.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'config'}: {problem['msg']}" for problem in error.errors()
        )
        raise WrongInput(
            "UnsupportedModel",
            f"{path} describes a model that cannot be trained here: {problems}. Supported: {SUPPORTED}",
        ) from error


def read_positions(model_directory: Path) -> int | None:
    """Read how many positions a model has, of any architecture; None if its config.json does not say.

    With scaled rotary positions, as by YaRN, it does not: how many more there are is the server's to work out.

    Raises:
        WrongInput: ModelConfigMissing, or UnsupportedModel if it is no JSON object.
    """
    path = model_directory / CONFIG_NAME
    try:
        config = json.loads(_read_config(path))
    except ValueError as error:
        raise WrongInput("UnsupportedModel", f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise WrongInput("UnsupportedModel", f"{path} is no JSON object")
    if config.get("rope_scaling") is not None or _is_scaled(config.get("rope_parameters")):
        return None
    positions = config.get("max_position_embeddings")
    return positions if type(positions) is int and positions > 0 else None


def _is_scaled(rope_parameters: object) -> bool:
    """Tell it as transformers 5 writes it, which has this block in every config.json."""
    return isinstance(rope_parameters, dict) and rope_parameters.get("rope_type", "default") != "default"


def _read_config(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WrongInput(
            "ModelConfigMissing",
            f"there is no {path}; model.uri must be a directory of HuggingFace files: config.json, the tokenizer's "
            "files and *.safetensors",
        ) from error


LLAMA_CONFIG_SOURCES: Final[Mapping[str, str]] = {
    "type": "model_type",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "rms_norm_eps": "rms_norm_eps",
    "theta": "rope_theta",
    "max_position_embedding": "max_position_embeddings",
    "qkv_has_bias": "attention_bias",
    "attn_proj_has_bias": "attention_bias",
    "tie_word_embeddings": "tie_word_embeddings",
    "init_method_std": "initializer_range",
    "extend_method": "rope_scaling",
    "scaling_factor": "rope_scaling",
}
"""Every key that `llama_config` may give, and the key of config.json that decides it."""


def llama_config(architecture: Architecture) -> dict[str, Any]:
    """Give the keys of MindFormers' LlamaConfig that follow from the architecture alone."""
    scaling = architecture.rope_scaling
    keys: dict[str, Any] = {
        "type": "LlamaConfig",
        "hidden_size": architecture.hidden_size,
        "num_layers": architecture.num_hidden_layers,
        "num_heads": architecture.num_attention_heads,
        "n_kv_heads": architecture.num_key_value_heads,
        "intermediate_size": architecture.intermediate_size,
        "vocab_size": architecture.vocab_size,
        "rms_norm_eps": architecture.rms_norm_eps,
        "theta": architecture.rope_theta,
        "max_position_embedding": architecture.max_position_embeddings,
        "qkv_has_bias": architecture.query_key_value_bias,
        "attn_proj_has_bias": architecture.attention_output_bias,
        "tie_word_embeddings": architecture.tie_word_embeddings,
        "init_method_std": architecture.initializer_range,
        "extend_method": "None",
    }
    if scaling is not None:
        keys["extend_method"] = "LLAMA3"
        keys["scaling_factor"] = scaling.model_dump(exclude={"rope_type"})
    return keys
