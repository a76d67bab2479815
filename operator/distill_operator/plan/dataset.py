"""The stages of a DistillDataset: generate, filter, pack."""

from collections.abc import Mapping
from typing import Any

from distill_operator.api import DistillDataset, StageStatus
from distill_operator.plan.stages import UNPLACED, SecretVariable, Stage, credentials_of, owner_of, placed
from distill_operator.settings import Settings
from distill_runtime.contract import (
    ArtifactReference,
    FilterContract,
    FilterParameters,
    GenerateContract,
    PackContract,
    PackParameters,
    TeacherParameters,
)
from distill_runtime.contract.stages import API_KEY_VARIABLE


def stage_names(dataset: DistillDataset, settings: Settings) -> tuple[str, ...]:
    """Give the stages in their order."""
    return ("generate", "filter", "pack")


def dependency(dataset: DistillDataset) -> None:
    """A data set waits for no other object."""


def plan_stage(
    dataset: DistillDataset,
    name: str,
    finished: Mapping[str, StageStatus],
    _: Mapping[str, Any] | None,
    settings: Settings,
) -> Stage:
    """Give the stage `name`; `finished` holds the stages before it, all Succeeded."""
    build = {"generate": _generate, "filter": _filter, "pack": _pack}[name]
    return build(dataset, finished)


def _generate(dataset: DistillDataset, _: Mapping[str, StageStatus]) -> Stage:
    spec = dataset.spec
    secret = spec.teacher.api_key_secret_ref
    return Stage(
        name="generate",
        reason="Generating",
        command="generate",
        contract=_generation(dataset),
        storage=spec.storage,
        profile=None,
        pods=spec.teacher.shards,
        secret=SecretVariable(API_KEY_VARIABLE, secret.name, secret.key) if secret else None,
        credentials=credentials_of(dataset),
        priority_class_name=spec.priority_class_name,
    )


def _filter(dataset: DistillDataset, _: Mapping[str, StageStatus]) -> Stage:
    spec = dataset.spec
    contract = FilterContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        input=_generation(dataset).output,
        shards=spec.teacher.shards,
        filter=FilterParameters.model_validate(spec.filter.model_dump()),
    )
    return Stage(
        name="filter",
        reason="Filtering",
        command="filter",
        contract=placed(contract, dataset, "filter"),
        storage=spec.storage,
        profile=None,
        credentials=credentials_of(dataset),
        priority_class_name=spec.priority_class_name,
    )


def _pack(dataset: DistillDataset, finished: Mapping[str, StageStatus]) -> Stage:
    spec = dataset.spec
    kept = finished["filter"].artifact
    assert kept is not None
    contract = PackContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        input=ArtifactReference(uri=kept.uri, digest=kept.digest),
        pack=PackParameters.model_validate(spec.pack.model_dump()),
    )
    return Stage(
        name="pack",
        reason="Packing",
        command="pack",
        contract=placed(contract, dataset, "pack"),
        storage=spec.storage,
        profile=None,
        priority_class_name=spec.priority_class_name,
    )


def _generation(dataset: DistillDataset) -> GenerateContract:
    teacher = dataset.spec.teacher.model_dump(include=set(TeacherParameters.model_fields))
    contract = GenerateContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        prompts=dataset.spec.source.prompts,
        teacher=TeacherParameters.model_validate(teacher),
        shards=dataset.spec.teacher.shards,
    )
    return placed(contract, dataset, "generate")
