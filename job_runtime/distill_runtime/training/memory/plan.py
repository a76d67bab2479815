"""What of a MindFormers YAML decides the memory of a device."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.memory.recompute import StageLayers, read_stages

GIB: Final = 2**30
_BYTES: Final[Mapping[str, int]] = {"float32": 4, "float16": 2, "bfloat16": 2}
_DEFAULT_POOL: Final = "58GB"
"""MindFormers 1.8, tools/register/template.py, where a YAML has no max_device_memory."""
_LAYERS: Final = ("num_layers", "num_hidden_layers")
_POOL: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)GB")


@dataclass(frozen=True)
class Network:
    """The shape of a network of Llama's kind; `tied` if it predicts with the table that it embeds with.

    Attributes:
        query_size: width of all queries, which is that of the network but in Qwen3.
        qwen3: whether it is one of the newer kind, in which each head's query and key are normed.
    """

    hidden: int
    intermediate: int
    heads: int
    query_size: int
    key_value_size: int
    vocabulary: int
    tied: bool
    qwen3: bool = False

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer but for norms and biases, which are less than a thousandth of it."""
        return 2 * self.hidden * (self.query_size + self.key_value_size) + 3 * self.hidden * self.intermediate

    @property
    def vocabulary_parameters(self) -> int:
        """Parameters of the embedding, and as many again of the projection to logits."""
        return self.hidden * self.vocabulary


@dataclass(frozen=True)
class Optimizer:
    """How the optimizer's states are shared out: MindSpore's parallel optimizer.

    Attributes:
        shards: devices that share the states and the weights of a layer; 1 without it.
        embedding_shards: the same for the embedding, which MindFormers leaves out unless told otherwise.
        shards_accumulation: whether they share the gradients that a pipeline adds up, too.
        gathers_again: whether each layer's weights are let go of after use (level3, ZeRO's third stage).
    """

    shards: int
    embedding_shards: int
    shards_accumulation: bool
    gathers_again: bool


@dataclass(frozen=True)
class MemoryPlan:
    """A run, as far as it decides the memory of a device.

    Attributes:
        sequences: in a micro-batch of a data-parallel rank.
        interleaved: micro-batches that run through the network side by side (micro_batch_interleave_num).
        residual_bytes: of a number that goes from layer to layer.
        replicated_vocabulary: whether embedding and projection to logits are whole on every device.
        packed_attention: whether the mask is the ends of the samples, of a network of the older kind. Each context rank
            computes all of it then.
        mask_from_data: whether it comes with the data as a matrix of integers.
        compressed_mask: whether flash attention makes the causal mask by itself.
        fine_grained: whether a layer computes parts of a sequence beside each other (fine_grain_interleave).
        aggregated_layers: layers whose gradients are reduced at once.
        adapter_parameters: of the low-rank adapters of a layer; 0 where all weights are trained.
        stages: the layers of each stage of the pipeline.
        pool: bytes that MindSpore may take of a device.
    """

    network: Network
    sequence_length: int
    sequences: int
    tensor: int
    pipeline: int
    context: int
    data: int
    sequence_parallel: bool
    slices_recomputed: bool
    micro_batches: int
    interleaved: int
    replicated_vocabulary: bool
    parameter_bytes: int
    compute_bytes: int
    residual_bytes: int
    flash_attention: bool
    packed_attention: bool
    mask_from_data: bool
    compressed_mask: bool
    fine_grained: bool
    optimizer: Optimizer
    aggregated_layers: int
    adapter_parameters: int
    stages: tuple[StageLayers, ...]
    pool: int


def read_plan(configuration: Mapping[str, Any]) -> MemoryPlan:
    """Read the content of a YAML, overrides included.

    Raises:
        WrongInput: OverrideInvalid, for a value that MindFormers does not take either.
    """
    model = _section(_section(configuration, "model"), "model_config", "model.model_config")
    parallel = _section(configuration, "parallel_config")
    pipeline = parallel["pipeline_stage"]
    packed = bool(model.get("use_eod_attn_mask_compression"))
    newer = configuration.get("use_legacy") is False
    compute_bytes = _bytes(model, "compute_dtype")
    groups = _count(parallel, "gradient_aggregation_group", 4)
    network = _network(model)
    return MemoryPlan(
        network=network,
        sequence_length=model["seq_length"],
        sequences=configuration["runner_config"]["batch_size"],
        tensor=parallel["model_parallel"],
        pipeline=pipeline,
        context=parallel.get("context_parallel", 1),
        data=parallel["data_parallel"],
        sequence_parallel=bool(parallel.get("use_seq_parallel")),
        slices_recomputed=bool(_section(configuration, "recompute_config").get("recompute_slice_activation")),
        micro_batches=parallel.get("micro_batch_num", 1),
        interleaved=_count(configuration, "micro_batch_interleave_num", 1),
        replicated_vocabulary=not newer and bool(parallel.get("vocab_emb_dp", True)),
        parameter_bytes=_bytes(model, "param_init_type"),
        compute_bytes=compute_bytes,
        residual_bytes=4 if model.get("fp32_residual_connection") else compute_bytes,
        flash_attention=bool(model.get("use_flash_attention")),
        packed_attention=packed and not newer,
        mask_from_data=_brings_mask(_section(configuration, "train_dataset")),
        compressed_mask=packed or bool(model.get("use_attn_mask_compression")),
        fine_grained=not newer and _count(model, "fine_grain_interleave", 1) > 1,
        optimizer=_optimizer(_section(configuration, "parallel"), parallel, model),
        aggregated_layers=max(1, (_first_of(model, *_LAYERS) + 1) // groups),
        adapter_parameters=_adapter_parameters(_section(model, "pet_config", "model.model_config.pet_config"), network),
        stages=read_stages(model, _section(configuration, "recompute_config"), pipeline),
        pool=_pool(_section(configuration, "context").get("max_device_memory", _DEFAULT_POOL)),
    )


def _section(tree: Mapping[str, Any], key: str, path: str | None = None) -> Mapping[str, Any]:
    """Give the mapping at a key; an absent one is empty.

    Raises:
        WrongInput: OverrideInvalid, if it is something else.
    """
    value = tree.get(key) or {}
    if not isinstance(value, Mapping):
        raise WrongInput("OverrideInvalid", f"mindformers.{path or key} is {value!r}; it must be a mapping of keys")
    return value


def _count(tree: Mapping[str, Any], key: str, default: int) -> int:
    value = tree.get(key, default)
    if not isinstance(value, int) or value < 1:
        raise WrongInput("OverrideInvalid", f"mindformers has {key} {value!r}; use a whole number of at least 1")
    return value


def _brings_mask(dataset: Mapping[str, Any]) -> bool:
    """Tell whether the mask comes as a matrix, by the loader's key or the older one that it takes it from.

    Source: MindFormers 1.8, dataset/dataloader/hf_dataloader.py, process_legacy_args.
    """
    loader = _section(dataset, "data_loader")
    compressed = loader.get("create_compressed_eod_mask")
    if "adaptor_config" in loader:
        compressed = _section(loader, "adaptor_config").get("compress_mask", False)
    return "attention_mask" in dataset.get("input_columns", ()) and compressed is False


def _network(model: Mapping[str, Any]) -> Network:
    heads = _first_of(model, "num_heads", "num_attention_heads")
    key_value_heads = _first_of(model, "n_kv_heads", "num_key_value_heads") or heads
    size = model.get("head_dim") or model["hidden_size"] // heads
    return Network(
        hidden=model["hidden_size"],
        intermediate=model["intermediate_size"],
        heads=heads,
        query_size=size * heads,
        key_value_size=size * key_value_heads,
        vocabulary=model["vocab_size"],
        tied=bool(model.get("tie_word_embeddings")),
        qwen3=model.get("model_type") == "qwen3",
    )


def _adapter_parameters(pet_config: Mapping[str, Any], network: Network) -> int:
    """Count the parameters of a layer's adapters, by the cells that they are asked for (see `lora`)."""
    if not pet_config:
        return 0
    hidden, key_value, inner = network.hidden, network.key_value_size, network.intermediate
    widths = dict.fromkeys(("wq", "wo"), 2 * hidden)
    widths |= dict.fromkeys(("wk", "wv"), hidden + key_value)
    widths |= dict.fromkeys(("w1", "w2", "w3"), hidden + inner)
    cells = str(pet_config["target_modules"]).replace("$", "").split("|")
    return int(pet_config["lora_rank"]) * sum(widths[cell] for cell in cells)


def _first_of(model: Mapping[str, Any], *keys: str) -> Any:
    """Give what stands under the name that this network's configuration has for it: LlamaConfig's or Qwen3Config's."""
    return next((model[key] for key in keys if key in model), None)


def _optimizer(parallel: Mapping[str, Any], degrees: Mapping[str, Any], model: Mapping[str, Any]) -> Optimizer:
    """Read how the optimizer's states are shared out.

    Source: MindSpore 2.7, parallel/_auto_parallel_context.py. The devices that share a parameter are all that would
    hold it whole otherwise, so those of context parallelism too.
    """
    options = _section(parallel, "parallel_optimizer_config", "parallel.parallel_optimizer_config")
    replicas = degrees["data_parallel"] * degrees.get("context_parallel", 1)
    if not parallel.get("enable_parallel_optimizer"):
        return Optimizer(1, 1, shards_accumulation=False, gathers_again=False)
    size = options.get("optimizer_weight_shard_size", -1)
    shards = size if size in range(1, replicas + 1) and replicas % size == 0 else replicas
    level = options.get("optimizer_level")
    return Optimizer(
        shards=shards,
        embedding_shards=shards if model.get("parallel_optimizer") else 1,
        shards_accumulation=level == "level2" or bool(options.get("gradient_accumulation_shard", level is None)),
        gathers_again=level == "level3",
    )


def _bytes(model: Mapping[str, Any], key: str) -> int:
    name = model[key]
    if not isinstance(name, str) or name not in _BYTES:
        raise WrongInput(
            "OverrideInvalid",
            f"mindformers.model.model_config.{key} is {name!r}; use one of {', '.join(_BYTES)}",
        )
    return _BYTES[name]


def _pool(text: object) -> int:
    match = _POOL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise WrongInput(
            "OverrideInvalid", f"mindformers.context.max_device_memory is {text!r}; write it like 58GB, in GiB"
        )
    return int(float(match[1]) * GIB)
