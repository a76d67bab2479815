"""The custom resources, group npu-distill.io: pydantic models that are their only definition.

`python -m distill_operator.api` writes crds/, the chart's copy and the reference page from them. Parameter blocks
that stages need too come from `distill_runtime.contract.parameters`. Imports nothing else of this package.
"""

from distill_operator.api.common import (
    GROUP,
    VERSION,
    Accelerator,
    AnyResource,
    AttemptStatus,
    Condition,
    ObjectReference,
    RunSpec,
    StageState,
    StageStatus,
    Status,
    Storage,
)
from distill_operator.api.dataset import DistillDataset, DistillDatasetSpec, DistillDatasetStatus
from distill_operator.api.evaluation import EvalRun, EvalRunSpec, EvalRunStatus
from distill_operator.api.finetune import FinetuneRun, FinetuneRunSpec, FinetuneRunStatus

KINDS: dict[str, type[AnyResource]] = {kind.__name__: kind for kind in (DistillDataset, FinetuneRun, EvalRun)}
"""Every kind of this group by its name."""

__all__ = [
    "GROUP",
    "KINDS",
    "VERSION",
    "Accelerator",
    "AnyResource",
    "AttemptStatus",
    "Condition",
    "DistillDataset",
    "DistillDatasetSpec",
    "DistillDatasetStatus",
    "EvalRun",
    "EvalRunSpec",
    "EvalRunStatus",
    "FinetuneRun",
    "FinetuneRunSpec",
    "FinetuneRunStatus",
    "ObjectReference",
    "RunSpec",
    "StageState",
    "StageStatus",
    "Status",
    "Storage",
]
