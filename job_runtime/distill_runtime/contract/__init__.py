"""What a stage is told and what it answers: the only code that the operator and the runtime share.

* `parameters`: the blocks of parameters that a custom resource and a stage's contract have in common, a module a
  stage, each block defined once, with its description and its ranges.
* `stages`: the contract of each stage, a JSON file mounted into its Pod.
* `identity`: what an artifact depends on, and what has no bearing on it.
* `report`: the progress a stage serves over HTTP while it runs, and the result it leaves when it ends.
* `artifact`: the manifest that describes a finished directory on the volume.
* `comparison`: what an evaluation says of itself beside others.

Imports pydantic and the standard library, nothing else, so that it loads in milliseconds everywhere.
"""

from distill_runtime.contract.artifact import ArtifactFile, ArtifactReference, InputFingerprint, Manifest, shard_output
from distill_runtime.contract.base import Model, Parameters
from distill_runtime.contract.identity import identity
from distill_runtime.contract.parameters import (
    Benchmark,
    Checkpoint,
    Decontamination,
    FilterParameters,
    Gate,
    Judge,
    Lora,
    ModelSource,
    PackedSource,
    PackParameters,
    Parallelism,
    Price,
    PromptSource,
    Protocol,
    PublishedScore,
    Recompute,
    RowSource,
    Sampling,
    SelectParameters,
    TeacherModel,
    TeacherParameters,
    Tolerance,
    Training,
    Verification,
)
from distill_runtime.contract.report import (
    EXIT_DONE,
    EXIT_RETRY,
    EXIT_TERMINATED,
    EXIT_WRONG_INPUT,
    FailureClass,
    Progress,
    Result,
)
from distill_runtime.contract.stages import (
    PROGRESS_PORT,
    CompareContract,
    Contract,
    EvalContract,
    FilterContract,
    GenerateContract,
    Owner,
    PackContract,
    Rendezvous,
    SelectContract,
    StageName,
    TrainContract,
    parse_contract,
)

__all__ = [
    "EXIT_DONE",
    "EXIT_RETRY",
    "EXIT_TERMINATED",
    "EXIT_WRONG_INPUT",
    "PROGRESS_PORT",
    "ArtifactFile",
    "ArtifactReference",
    "Benchmark",
    "Checkpoint",
    "CompareContract",
    "Contract",
    "Decontamination",
    "EvalContract",
    "FailureClass",
    "FilterContract",
    "FilterParameters",
    "Gate",
    "GenerateContract",
    "InputFingerprint",
    "Judge",
    "Lora",
    "Manifest",
    "Model",
    "ModelSource",
    "Owner",
    "PackContract",
    "PackParameters",
    "PackedSource",
    "Parallelism",
    "Parameters",
    "Price",
    "Progress",
    "PromptSource",
    "Protocol",
    "PublishedScore",
    "Recompute",
    "Rendezvous",
    "Result",
    "RowSource",
    "Sampling",
    "SelectContract",
    "SelectParameters",
    "StageName",
    "TeacherModel",
    "TeacherParameters",
    "Tolerance",
    "TrainContract",
    "Training",
    "Verification",
    "identity",
    "parse_contract",
    "shard_output",
]
