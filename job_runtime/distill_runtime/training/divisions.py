"""What the parallelism must divide: MindFormers says so only when NPUs are held, or MindSpore when it compiles."""

import logging
import math
from typing import Any, Final

from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture

logger = logging.getLogger(__name__)

_FLASH_ATTENTION_TOKENS: Final = 16
"""Flash attention takes sequences of a multiple of this (MindFormers, modules/flash_attention.py, S1 and S2)."""


def check_divisions(contract: TrainContract, architecture: Architecture, sequence_length: int) -> None:
    """Check that model and sequences can be divided among the devices.

    Args:
        sequence_length: tokens in a packed sequence.

    Raises:
        WrongInput: UnsupportedOnCpu, HeadsNotDivisible, WidthNotDivisible, LayersNotDivisible, TooFewMicroBatches,
            SequenceNotDivisible or ContextNeedsFlashAttention, with a value that would do.
    """
    _check_device(contract)
    _check_heads(contract, architecture)
    _check_layers(contract, architecture)
    _check_sequence(contract, sequence_length)


def warn_of_vocabulary(contract: TrainContract, architecture: Architecture) -> None:
    """Say it in the log if the vocabulary cannot be divided; that costs memory, and no more."""
    tensor = contract.parallelism.tensor
    if architecture.vocab_size % tensor:
        logger.warning(
            "parallelism.tensor %s does not divide vocab_size %s: MindFormers keeps the embedding and the logits whole "
            "on each device",
            tensor,
            architecture.vocab_size,
        )


def _check_device(contract: TrainContract) -> None:
    parallelism = contract.parallelism
    split = parallelism.tensor * parallelism.pipeline * parallelism.context > 1 or parallelism.sequence
    if contract.device_target == "CPU" and split:
        raise WrongInput(
            "UnsupportedOnCpu",
            "on CPU only data parallelism works (MindSpore has no semi-automatic parallelism there); leave "
            "parallelism.tensor, pipeline and context at 1 and sequence at false",
        )


def _check_heads(contract: TrainContract, architecture: Architecture) -> None:
    """Heads go to the devices of a tensor-parallel group and, by ulysses, to those that share a sequence.

    Source: LLamaAttention and LLamaFeedForward (MindFormers, models/llama/llama_transformer.py and llama_layer.py), and
    Attention of the newer networks (parallel_core/training_graph/transformer/attention.py).
    """
    tensor, ulysses = contract.parallelism.tensor, _ulysses_degree(contract)
    degree, named = tensor * ulysses, f"parallelism.tensor {tensor}"
    remedy = "parallelism.tensor"
    if ulysses > 1:
        named += f" x ulysses {ulysses}"
        remedy = (
            "parallelism.tensor or parallelism.context, or leave "
            "spec.mindformers.parallel_config.context_parallel_algo at colossalai_cp"
        )
    for key in ("num_attention_heads", "num_key_value_heads"):
        if (heads := getattr(architecture, key)) % degree:
            raise WrongInput(
                "HeadsNotDivisible",
                f"{contract.model.uri} has {key} {heads}, which {named} does not divide; use a divisor of {heads} "
                f"(change {remedy})",
            )
    # The newer networks' projection to logits is divided whatever the vocabulary (parallel_core/training_graph/
    # tensor_parallel/layers.py, ColumnParallelLinear).
    for key in ("intermediate_size", *(["vocab_size"] if architecture.newer else [])):
        if (width := getattr(architecture, key)) % tensor:
            raise WrongInput(
                "WidthNotDivisible",
                f"{contract.model.uri} has {key} {width}, which parallelism.tensor {tensor} does not divide; use a "
                f"divisor of {width}",
            )


def _ulysses_degree(contract: TrainContract) -> int:
    """Give over how many devices ulysses spreads the heads (TransformerOpParallelConfig.get_ulysses_cp_num)."""
    overrides = _section(contract, "parallel_config")
    algorithm = overrides.get("context_parallel_algo", "colossalai_cp")
    if contract.parallelism.context == 1 or algorithm == "colossalai_cp":
        return 1
    degree = contract.parallelism.context if algorithm == "ulysses_cp" else overrides.get("ulysses_degree_in_cp", 1)
    return degree if isinstance(degree, int) and degree > 0 else 1  # another value is for MindFormers to refuse


def _check_layers(contract: TrainContract, architecture: Architecture) -> None:
    parallelism, layers = contract.parallelism, architecture.num_hidden_layers
    if layers % parallelism.pipeline:
        raise WrongInput(
            "LayersNotDivisible",
            f"{contract.model.uri} has num_hidden_layers {layers}, which parallelism.pipeline {parallelism.pipeline} "
            f"does not divide; use a divisor of {layers}",
        )
    if parallelism.pipeline > 1 and parallelism.micro_batches < parallelism.pipeline:
        raise WrongInput(
            "TooFewMicroBatches",
            f"parallelism.microBatches {parallelism.micro_batches} is less than parallelism.pipeline "
            f"{parallelism.pipeline}, so that some stages would never work; use at least as many",
        )


def _check_sequence(contract: TrainContract, sequence_length: int) -> None:
    """Each device of a context-parallel group takes a part of a sequence; with sequence parallelism, each of both."""
    parallelism = contract.parallelism
    flash = contract.device_target == "Ascend" and _section(contract, "model", "model_config").get(
        "use_flash_attention", True
    )
    if parallelism.context > 1 and not flash:
        raise WrongInput(
            "ContextNeedsFlashAttention",
            f"parallelism.context {parallelism.context} needs flash attention; leave "
            "spec.mindformers.model.model_config.use_flash_attention out, or parallelism.context at 1",
        )
    parts, named = parallelism.context, f"parallelism.context {parallelism.context}"
    if parallelism.sequence:
        parts *= parallelism.tensor
        named = f"parallelism.tensor {parallelism.tensor} x context {parallelism.context}, with sequence parallelism,"
    whole = math.lcm(parts, _FLASH_ATTENTION_TOKENS) if flash else parts
    if sequence_length % whole:
        why = (
            f"{named} does not divide"
            if sequence_length % parts
            else f"flash attention does not take: it is no multiple of {_FLASH_ATTENTION_TOKENS}"
        )
        raise WrongInput(
            "SequenceNotDivisible",
            f"{contract.dataset.uri} is packed to {sequence_length} tokens, which {why}; pack with a "
            f"pack.sequenceLength that is a multiple of {whole}",
        )


def _section(contract: TrainContract, *names: str) -> dict[str, Any]:
    """Give a mapping of the overrides; an empty one if there is none, or something else in its place."""
    section: Any = contract.mindformers
    for name in names:
        section = section.get(name)
        if not isinstance(section, dict):
            return {}
    return dict(section)
