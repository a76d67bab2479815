"""What a step of training computes, by the arithmetic of the model, and how fast that is.

MFU, the model FLOPs utilization, is the share of the devices' peak that the model's own arithmetic takes (PaLM,
arXiv:2204.02311, appendix B): what is computed a second time to save memory does not count, nor does padding.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill_runtime.contract import Lora, TrainContract
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.configuration import TrainingData
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.lora import adapter_parameters

_TERA = 1e12


@dataclass(frozen=True)
class SampleTokens:
    """The samples of packed data: padding belongs to none.

    Attributes:
        tokens: in all samples.
        squared: the sum of the squares of the samples' lengths in tokens, by which attention grows.
    """

    tokens: int
    squared: int


@dataclass(frozen=True)
class StepWork:
    """A step of all devices, as the mean over the data: one step has fuller sequences than another.

    Attributes:
        tokens: without padding.
        flops: floating-point operations of the model, forward and backward.
        peak_flops: operations a second that the devices can do together; None if the profile does not say.
    """

    tokens: float
    flops: float
    peak_flops: float | None

    def speed(self, seconds: float) -> dict[str, float]:
        """Give, by the names of a stage's metrics, how fast steps of so many seconds are."""
        if seconds <= 0:
            return {}
        figures = {"tokensPerSecond": self.tokens / seconds}
        if self.peak_flops is not None:
            figures["modelFlopsUtilization"] = self.flops / seconds / self.peak_flops
        return figures


def count_tokens(data: TrainingData) -> SampleTokens:
    """Count the tokens of all samples, by where they end."""
    tokens = squared = 0
    for file in sorted(data.path.glob("*.arrow")):
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                ends = batch["actual_seq_len"]
                lengths = _lengths(ends.flatten().to_numpy(zero_copy_only=False), ends.value_lengths().to_numpy())
                tokens += int(lengths.sum())
                squared += int((lengths * lengths).sum())
    return SampleTokens(tokens, squared)


def model_flops(architecture: Architecture, samples: SampleTokens, lora: Lora | None) -> float:
    """Give the floating-point operations of training on samples once.

    6 N a token, with N the parameters that are multiplied with, so without the embedding, which is looked up: 2 N
    forward, 4 N backward. Of a base that is not trained it is 4 N, since half of the backward pass is for the gradients
    of weights, and 6 for each parameter of an adapter. To that comes attention within each sample, 12 times layers,
    width of all heads and length squared (PaLM, appendix B), half of which causal attention does not need. Megatron-LM
    counts alike (training/training.py, num_floating_point_operations).
    """
    heads = architecture.head_size * architecture.num_attention_heads
    hidden = architecture.hidden_size
    projections = 2 * hidden * heads + 2 * hidden * architecture.key_value_size
    layer = projections + 3 * hidden * architecture.intermediate_size
    multiplied = architecture.num_hidden_layers * layer + hidden * architecture.vocab_size
    attention = 12 * architecture.num_hidden_layers * heads * samples.squared / 2
    if lora is None:
        return 6.0 * multiplied * samples.tokens + attention
    return (4.0 * multiplied + 6.0 * adapter_parameters(lora, architecture)) * samples.tokens + attention


def plan_work(contract: TrainContract, inputs: TrainingInputs) -> StepWork:
    """Tell what a step of a run is."""
    samples = count_tokens(inputs.data)
    schedule = inputs.schedule
    share = schedule.global_batch_size / inputs.sequences
    peak = contract.peak_teraflops
    return StepWork(
        tokens=samples.tokens * share,
        flops=model_flops(inputs.architecture, samples, contract.training.lora) * share,
        peak_flops=None if peak is None else peak * _TERA * schedule.devices,
    )


def _lengths(ends: NDArray[np.int32], counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Give the samples' lengths, from where they end in their sequence and how many each sequence has."""
    lengths = np.diff(ends.astype(np.int64), prepend=0)
    firsts = np.cumsum(counts)[:-1]
    lengths[firsts] = ends[firsts]
    return lengths
