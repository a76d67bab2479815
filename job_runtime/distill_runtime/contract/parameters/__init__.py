"""Parameter blocks, a module a stage: each appears in a custom resource and in a stage's contract, and is defined here
once."""

from distill_runtime.contract.parameters.evaluation import Benchmark, Protocol
from distill_runtime.contract.parameters.fields import (
    MAX_ATTEMPTS,
    PROMPT_PLACEHOLDER,
    UNAVAILABLE_TIMEOUT_SECONDS,
    URL_SCHEMES,
    Uri,
)
from distill_runtime.contract.parameters.filtering import (
    Decontamination,
    EntryPoint,
    FilterParameters,
    Keep,
    ProblemSet,
)
from distill_runtime.contract.parameters.packing import PackedSource, PackParameters, TokenizerSource
from distill_runtime.contract.parameters.selecting import Balance, LengthBand, SelectParameters
from distill_runtime.contract.parameters.sources import PromptSource, RowSource
from distill_runtime.contract.parameters.teacher import Price, Sampling, TeacherModel, TeacherParameters
from distill_runtime.contract.parameters.training import (
    Checkpoint,
    Lora,
    MindFormersOverrides,
    ModelSource,
    Parallelism,
    Recompute,
    Training,
)

__all__ = [
    "MAX_ATTEMPTS",
    "PROMPT_PLACEHOLDER",
    "UNAVAILABLE_TIMEOUT_SECONDS",
    "URL_SCHEMES",
    "Balance",
    "Benchmark",
    "Checkpoint",
    "Decontamination",
    "EntryPoint",
    "FilterParameters",
    "Keep",
    "LengthBand",
    "Lora",
    "MindFormersOverrides",
    "ModelSource",
    "PackParameters",
    "PackedSource",
    "Parallelism",
    "Price",
    "ProblemSet",
    "PromptSource",
    "Protocol",
    "Recompute",
    "RowSource",
    "Sampling",
    "SelectParameters",
    "TeacherModel",
    "TeacherParameters",
    "TokenizerSource",
    "Training",
    "Uri",
]
