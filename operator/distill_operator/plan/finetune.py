"""The stages of a FinetuneRun: a preflight without devices where devices are scarce, then train."""

from collections.abc import Mapping
from typing import Any

from distill_operator.api import DistillDataset, FinetuneRun, StageStatus
from distill_operator.observation import ResourceKey
from distill_operator.plan.dependencies import input_artifact
from distill_operator.plan.stages import (
    UNPLACED,
    Invalid,
    Outline,
    Stage,
    Teamwork,
    Waiting,
    find_profile,
    owner_of,
    placed,
)
from distill_operator.settings import Profile, Settings, whole
from distill_runtime.contract import ArtifactReference, TrainContract, Training

PREFLIGHT = "train-preflight"


def stage_names(run: FinetuneRun, settings: Settings) -> tuple[str, ...]:
    """Give the stages: wrong input must be found before NPUs are held, and CPU Pods hold none."""
    profile = settings.profiles.get(run.spec.accelerator.profile)
    return (PREFLIGHT, "train") if profile is not None and profile.resource else ("train",)


def dependency(run: FinetuneRun) -> ResourceKey:
    """Give the data set that the run waits for."""
    return ResourceKey("DistillDataset", run.metadata.namespace, run.spec.dataset_ref.name)


def outline(run: FinetuneRun, name: str) -> Outline:
    """Give what the stage `name` is by the object alone."""
    if name == PREFLIGHT:
        return Outline(name=name, reason="Checking")
    return Outline(
        name=name,
        reason="Training",
        pods=run.spec.accelerator.nodes,
        teamwork=Teamwork.TOGETHER,
        backoff_limit=0,  # a Pod that is replaced cannot rejoin MindSpore's cluster: the attempt ends, the next resumes
        max_attempts=1 + run.spec.restarts.max,
        saved_every=run.spec.checkpoint.every_steps,
    )


def plan_stage(
    run: FinetuneRun,
    name: str,
    finished: Mapping[str, StageStatus],
    dataset: Mapping[str, Any] | None,
    settings: Settings,
) -> Stage | Waiting | Invalid:
    """Give the stage `name`, or why it cannot be planned."""
    profile = find_profile(settings, run.spec.accelerator)
    if isinstance(profile, Invalid):
        return profile
    packed = input_artifact(run, dependency(run), dataset, DistillDataset)
    if isinstance(packed, Waiting | Invalid):
        return packed
    preflight = name == PREFLIGHT
    return Stage(
        outline=outline(run, name),
        run=run.spec,
        command="msrun",
        contract=_contract(run, packed, profile),
        profile=None if preflight else profile,
        input=packed,
        devices=0 if preflight else run.spec.accelerator.devices_per_node,
        check_only=preflight,
    )


def _contract(run: FinetuneRun, dataset: ArtifactReference, profile: Profile) -> TrainContract:
    spec = run.spec
    contract = TrainContract(
        owner=owner_of(run),
        output=UNPLACED,
        dataset=dataset,
        model=spec.model,
        training=Training.model_validate(spec.training.model_dump()),
        parallelism=spec.parallelism,
        checkpoint=spec.checkpoint,
        mindformers=spec.mindformers,
        device_target=profile.device_target,
        nodes=spec.accelerator.nodes,
        devices_per_node=spec.accelerator.devices_per_node,
        device_memory=whole(profile.device_memory) if profile.device_memory else None,
        grace_seconds=profile.termination_grace_period_seconds,
    )
    return placed(contract, run, "train")
