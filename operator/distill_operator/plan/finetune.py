"""The stages of a FinetuneRun: train and, where devices are scarce, a preflight and an export without any.

All three read the same contract and work on the same directory.
"""

from collections.abc import Mapping
from datetime import timedelta

from distill_operator.api import DistillDataset, FinetuneRun, StageStatus
from distill_operator.observation import Dependencies, ResourceKey
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
TRAIN = "train"
EXPORT = "export"


def stage_names(run: FinetuneRun, settings: Settings) -> tuple[str, ...]:
    """Give the stages: NPUs are held neither until wrong input is found nor while weights are put together.

    CPU Pods hold none, so there train does all of it.
    """
    profile = settings.profiles.get(run.spec.accelerator.profile)
    return (PREFLIGHT, TRAIN, EXPORT) if profile is not None and profile.resource else (TRAIN,)


def dependencies(run: FinetuneRun) -> tuple[ResourceKey, ...]:
    """Give the data set that the run waits for."""
    return (_dataset_key(run),)


def _dataset_key(run: FinetuneRun) -> ResourceKey:
    return ResourceKey("DistillDataset", run.metadata.namespace, run.spec.dataset_ref.name)


def outline(run: FinetuneRun, name: str) -> Outline:
    """Give what the stage `name` is by the object alone."""
    if name == PREFLIGHT:
        return Outline(name=name, reason="Checking")
    if name == EXPORT:
        return Outline(name=name, reason="Exporting")
    return Outline(
        name=name,
        reason="Training",
        pods=run.spec.accelerator.nodes,
        teamwork=Teamwork.TOGETHER,
        backoff_limit=0,  # a Pod that is replaced cannot rejoin MindSpore's cluster: the attempt ends, the next resumes
        max_attempts=1 + run.spec.restarts.max,
        saved_every=run.spec.checkpoint.every_steps,
        fenced=True,
        start_timeout=timedelta(seconds=run.spec.start_timeout_seconds),
    )


def plan_stage(
    run: FinetuneRun,
    name: str,
    finished: Mapping[str, StageStatus],
    known: Dependencies,
    settings: Settings,
) -> Stage | Waiting | Invalid:
    """Give the stage `name`, or why it cannot be planned."""
    profile = find_profile(settings, run.spec.accelerator)
    if isinstance(profile, Invalid):
        return profile
    packed = input_artifact(run, _dataset_key(run), known, DistillDataset)
    if isinstance(packed, Waiting | Invalid):
        return packed
    stages = run.status.begun_with or stage_names(run, settings)
    return Stage(
        outline=outline(run, name),
        run=run.spec,
        command="export" if name == EXPORT else "msrun",
        contract=_contract(run, packed, profile, stages),
        profile=profile if name == TRAIN else None,
        input=packed,
        devices=run.spec.accelerator.devices_per_node if name == TRAIN else 0,
        check_only=name == PREFLIGHT,
    )


def _contract(run: FinetuneRun, dataset: ArtifactReference, profile: Profile, stages: tuple[str, ...]) -> TrainContract:
    """Give the contract of all stages. A run that began with a version before there was an export has none."""
    spec = run.spec
    contract = TrainContract(
        owner=owner_of(run),
        run=run.metadata.uid,
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
        peak_teraflops=profile.peak_teraflops,
        grace_seconds=profile.termination_grace_period_seconds,
        export_by="export" if EXPORT in stages else "msrun",
    )
    return placed(contract, run, TRAIN)
