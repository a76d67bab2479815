"""The stages of a DistillDataset: generate, filter, pack, from where its source begins."""

from collections.abc import Mapping

from distill_operator.api import DistillDataset, StageStatus
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.stages import (
    UNPLACED,
    Invalid,
    Outline,
    SecretVariable,
    Stage,
    credentials_of,
    owner_of,
    placed,
)
from distill_operator.plan.verifiers import refuse_verifier
from distill_operator.settings import Settings
from distill_runtime.contract import (
    ArtifactReference,
    FilterContract,
    FilterParameters,
    GenerateContract,
    PackContract,
    PackParameters,
    PromptSource,
    RowSource,
    TeacherParameters,
)
from distill_runtime.contract.stages import API_KEY_VARIABLE

_REASONS = {"generate": "Generating", "filter": "Filtering", "pack": "Packing"}


def stage_names(dataset: DistillDataset, settings: Settings) -> tuple[str, ...]:
    """Give the stages in their order: rows have been generated, packed sequences filtered as well."""
    source = dataset.spec.source
    if source.packed is not None:
        return ("pack",)
    return ("filter", "pack") if source.rows is not None else ("generate", "filter", "pack")


def dependencies(_: DistillDataset) -> tuple[ResourceKey, ...]:
    """A data set waits for no other object."""
    return ()


def outline(dataset: DistillDataset, name: str) -> Outline:
    """Give what the stage `name` is by the object alone."""
    teacher = dataset.spec.teacher
    pods = teacher.shards if name == "generate" and teacher is not None else 1
    return Outline(name=name, reason=_REASONS[name], pods=pods)


def plan_stage(
    dataset: DistillDataset,
    name: str,
    finished: Mapping[str, StageStatus],
    _: Dependencies,
    settings: Settings,
) -> Stage | Invalid:
    """Give the stage `name`; `finished` holds the stages before it, all Succeeded."""
    entry_point = dataset.spec.filter.entry_point if dataset.spec.filter else None
    if name != "pack" and (refusal := refuse_verifier(entry_point, "filter.entryPoint", settings)) is not None:
        return refusal
    build = {"generate": _generate, "filter": _filter, "pack": _pack}[name]
    return build(dataset, finished)


def _generate(dataset: DistillDataset, _: Mapping[str, StageStatus]) -> Stage | Invalid:
    spec = dataset.spec
    contract = _generation(dataset)
    if isinstance(contract, Invalid):
        return contract
    secret = spec.teacher.api_key_secret_ref if spec.teacher else None
    return Stage(
        outline=outline(dataset, "generate"),
        run=dataset.spec,
        command="generate",
        contract=contract,
        secret=SecretVariable(API_KEY_VARIABLE, secret.name, secret.key) if secret else None,
        credentials=credentials_of(dataset),
    )


def _filter(dataset: DistillDataset, _: Mapping[str, StageStatus]) -> Stage | Invalid:
    spec = dataset.spec
    parameters = _filtering(dataset)
    if spec.source.rows is not None:
        rows = RowSource.model_validate(spec.source.rows.model_dump())
        contract = FilterContract(owner=owner_of(dataset), output=UNPLACED, input=rows, filter=parameters)
    else:
        generation = _generation(dataset)
        if isinstance(generation, Invalid):
            return generation
        contract = FilterContract(
            owner=owner_of(dataset),
            output=UNPLACED,
            input=generation.output,
            shards=generation.shards,
            filter=parameters,
        )
    return Stage(
        outline=outline(dataset, "filter"),
        run=dataset.spec,
        command="filter",
        contract=placed(contract, dataset, "filter"),
        credentials=credentials_of(dataset),
    )


def _pack(dataset: DistillDataset, finished: Mapping[str, StageStatus]) -> Stage | Invalid:
    spec = dataset.spec
    if spec.source.packed is not None:
        contract = PackContract(owner=owner_of(dataset), output=UNPLACED, input=spec.source.packed)
    elif spec.pack is None:
        return Invalid("InvalidSpec", "spec.pack is missing: it says how the kept generations are packed.")
    else:
        kept = finished["filter"].artifact
        assert kept is not None
        contract = PackContract(
            owner=owner_of(dataset),
            output=UNPLACED,
            input=ArtifactReference(uri=kept.uri, digest=kept.digest),
            pack=PackParameters.model_validate(spec.pack.model_dump()),
        )
    return Stage(
        outline=outline(dataset, "pack"),
        run=dataset.spec,
        command="pack",
        contract=placed(contract, dataset, "pack"),
        credentials=credentials_of(dataset) if spec.source.packed else None,
    )


def _generation(dataset: DistillDataset) -> GenerateContract | Invalid:
    prompts, teacher = dataset.spec.source.prompts, dataset.spec.teacher
    if prompts is None or teacher is None:
        return Invalid("InvalidSpec", "spec.source is incomplete: set source.prompts and teacher, or source.rows.")
    contract = GenerateContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        prompts=PromptSource.model_validate(prompts.model_dump()),
        teacher=TeacherParameters.model_validate(teacher.model_dump(include=set(TeacherParameters.model_fields))),
        shards=teacher.shards,
        filter=_filtering(dataset),
    )
    return placed(contract, dataset, "generate")


def _filtering(dataset: DistillDataset) -> FilterParameters:
    filtering = dataset.spec.filter
    return FilterParameters.model_validate(filtering.model_dump() if filtering else {})
