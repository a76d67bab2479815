"""The registry of kinds: for each, which stages it has and what its status says of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distill_operator.api import AnyResource, DistillDataset, EvalRun, FinetuneRun, StageStatus
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan import dataset, evaluation, figures, finetune
from distill_operator.plan.stages import Invalid, Outline, Stage, Waiting
from distill_operator.settings import Settings


@dataclass(frozen=True)
class KindPlan:
    """How one kind is planned and summarised. All functions are pure.

    `done_reason` is the Ready condition's reason when all stages have succeeded; `figures` gives the status fields
    that only this kind has, from the stages in their order.
    """

    model: type[AnyResource]
    done_reason: str
    stage_names: Callable[[Any, Settings], tuple[str, ...]]
    dependencies: Callable[[Any], tuple[ResourceKey, ...]]
    outline: Callable[[Any, str], Outline]
    plan_stage: Callable[[Any, str, Mapping[str, StageStatus], Dependencies, Settings], Stage | Waiting | Invalid]
    figures: Callable[[Any, Mapping[str, StageStatus]], dict[str, Any]]


KIND_PLANS: dict[str, KindPlan] = {
    "DistillDataset": KindPlan(
        model=DistillDataset,
        done_reason="Packed",
        stage_names=dataset.stage_names,
        dependencies=dataset.dependencies,
        outline=dataset.outline,
        plan_stage=dataset.plan_stage,
        figures=figures.dataset_figures,
    ),
    "FinetuneRun": KindPlan(
        model=FinetuneRun,
        done_reason="Trained",
        stage_names=finetune.stage_names,
        dependencies=finetune.dependencies,
        outline=finetune.outline,
        plan_stage=finetune.plan_stage,
        figures=figures.finetune_figures,
    ),
    "EvalRun": KindPlan(
        model=EvalRun,
        done_reason="Scored",
        stage_names=evaluation.stage_names,
        dependencies=evaluation.dependencies,
        outline=evaluation.outline,
        plan_stage=evaluation.plan_stage,
        figures=figures.evaluation_figures,
    ),
}
