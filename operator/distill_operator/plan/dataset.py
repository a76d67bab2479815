"""The stages of a DistillDataset: generate, filter, pack."""

from collections.abc import Mapping
from typing import Any

from distill_operator.api import DistillDataset, StageStatus
from distill_operator.plan.stages import SecretVariable, Stage, output_path, owner_of
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

OPERATIONAL = {
    "endpoints",
    "max_concurrent_requests",
    "request_timeout_seconds",
    "stall_timeout_seconds",
    "max_attempts",
    "unavailable_timeout_seconds",
}
"""Teacher parameters that say how answers are come by, not what they are; the job runtime leaves out the same."""


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
        contract=GenerateContract(
            owner=owner_of(dataset),
            output=_generations_path(dataset),
            prompts=spec.source.prompts,
            teacher=_teacher(dataset),
            shards=spec.teacher.shards,
        ),
        storage=spec.storage,
        profile=None,
        pods=spec.teacher.shards,
        secret=SecretVariable(API_KEY_VARIABLE, secret.name, secret.key) if secret else None,
        priority_class_name=spec.priority_class_name,
    )


def _filter(dataset: DistillDataset, _: Mapping[str, StageStatus]) -> Stage:
    spec = dataset.spec
    parameters = FilterParameters.model_validate(spec.filter.model_dump())
    source = _generations_path(dataset)
    identity = {"input": source, "filter": parameters.to_json()}
    return Stage(
        name="filter",
        reason="Filtering",
        command="filter",
        contract=FilterContract(
            owner=owner_of(dataset),
            output=output_path(dataset, "filter", identity),
            input=source,
            shards=spec.teacher.shards,
            filter=parameters,
        ),
        storage=spec.storage,
        profile=None,
        priority_class_name=spec.priority_class_name,
    )


def _pack(dataset: DistillDataset, finished: Mapping[str, StageStatus]) -> Stage:
    spec = dataset.spec
    kept = finished["filter"].artifact
    assert kept is not None
    source = ArtifactReference(uri=kept.uri, digest=kept.digest)
    parameters = PackParameters.model_validate(spec.pack.model_dump())
    identity = {"input": source.to_json(), "pack": parameters.to_json()}
    return Stage(
        name="pack",
        reason="Packing",
        command="pack",
        contract=PackContract(
            owner=owner_of(dataset),
            output=output_path(dataset, "pack", identity),
            input=source,
            pack=parameters,
        ),
        storage=spec.storage,
        profile=None,
        priority_class_name=spec.priority_class_name,
    )


def _teacher(dataset: DistillDataset) -> TeacherParameters:
    fields = TeacherParameters.model_fields.keys()
    return TeacherParameters.model_validate(dataset.spec.teacher.model_dump(include=set(fields)))


def _generations_path(dataset: DistillDataset) -> str:
    # Without what is not set: an optional parameter that a later version adds must not move what is there.
    teacher = _teacher(dataset).model_dump(mode="json", exclude=OPERATIONAL, exclude_none=True)
    identity: dict[str, Any] = {"prompts": dataset.spec.source.prompts.to_json(), "teacher": teacher}
    return output_path(dataset, "generate", identity)
