"""Parameter blocks, a module a stage: each appears in a custom resource and in a stage's contract, and is defined here
once."""

from distill_runtime.contract.parameters.comparing import Gate, PublishedScore
from distill_runtime.contract.parameters.evaluation import Benchmark, Protocol
from distill_runtime.contract.parameters.fields import (
    MAX_ATTEMPTS,
    UNAVAILABLE_TIMEOUT_SECONDS,
    URL_SCHEMES,
    Column,
    EntryPoint,
    Uri,
)
from distill_runtime.contract.parameters.filtering import (
    Decontamination,
    FilterParameters,
    Keep,
    PreferencePairs,
    ProblemSet,
)
from distill_runtime.contract.parameters.judge import Judge, JudgeEndpoint
from distill_runtime.contract.parameters.packing import PackedSource, PackParameters, TokenizerSource
from distill_runtime.contract.parameters.problems import CHOICES, LETTERS, ChoiceOrder, ProblemColumns
from distill_runtime.contract.parameters.prompting import Example, Prompting
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
from distill_runtime.contract.parameters.verification import (
    COMPARING_VERIFIERS,
    ComparingVerifier,
    Tolerance,
    Verification,
)

__all__ = [
    "CHOICES",
    "COMPARING_VERIFIERS",
    "LETTERS",
    "MAX_ATTEMPTS",
    "UNAVAILABLE_TIMEOUT_SECONDS",
    "URL_SCHEMES",
    "Balance",
    "Benchmark",
    "Checkpoint",
    "ChoiceOrder",
    "Column",
    "ComparingVerifier",
    "Decontamination",
    "EntryPoint",
    "Example",
    "FilterParameters",
    "Gate",
    "Judge",
    "JudgeEndpoint",
    "Keep",
    "LengthBand",
    "Lora",
    "MindFormersOverrides",
    "ModelSource",
    "PackParameters",
    "PackedSource",
    "Parallelism",
    "PreferencePairs",
    "Price",
    "ProblemColumns",
    "ProblemSet",
    "PromptSource",
    "Prompting",
    "Protocol",
    "PublishedScore",
    "Recompute",
    "RowSource",
    "Sampling",
    "SelectParameters",
    "TeacherModel",
    "TeacherParameters",
    "TokenizerSource",
    "Tolerance",
    "Training",
    "Uri",
    "Verification",
]
