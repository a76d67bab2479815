"""The stages of a DistillDataset: generate, filter, select, pack, from where its source begins.

A probe is one more generation and its verification, between filter and select: the same commands with another model.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

from distill_operator.api import DistillDataset, StageStatus
from distill_operator.api.dataset import Teacher
from distill_operator.api.judge import JUDGE_KEY_REFERENCE
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.serving import Devices, find_devices, longest_sequence
from distill_operator.plan.stages import (
    UNPLACED,
    Invalid,
    Outline,
    SecretVariable,
    Sidecar,
    Stage,
    credentials_of,
    owner_of,
    placed,
)
from distill_operator.plan.verifiers import judge_key, refuse_verifier
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
    SelectContract,
    SelectParameters,
    TeacherParameters,
    Verification,
)
from distill_runtime.contract.stages import ADDITIONAL_API_KEY_VARIABLE, API_KEY_VARIABLE, ServedTeacher

_OPERATOR_ONLY: Any = {
    "api_key_secret_ref": True,
    "serve": True,
    "shards": True,
    "additional_models": {"__all__": {"api_key_secret_ref"}},
}
"""What of a teacher its stages are not told."""
_VERIFYING = {*Verification.model_fields, "on_truncated", "verify_timeout_seconds"}
"""What of a filter says which answers are right."""
PROBE, PROBE_VERIFY = "probe", "probe-verify"
_REASONS = {
    "generate": "Generating",
    "filter": "Filtering",
    PROBE: "Probing",
    PROBE_VERIFY: "Probing",
    "select": "Selecting",
    "pack": "Packing",
}


def stage_names(dataset: DistillDataset, settings: Settings) -> tuple[str, ...]:
    """Give the stages in their order: rows have been generated, packed sequences filtered as well."""
    source = dataset.spec.source
    if source.packed is not None:
        return ("pack",)
    first = () if source.rows is not None else ("generate",)
    select = dataset.spec.select
    probe = (PROBE, PROBE_VERIFY) if select is not None and select.probe is not None else ()
    return (*first, "filter", *probe, *(("select",) if select is not None else ()), "pack")


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
    if name in ("generate", "filter", PROBE_VERIFY):
        refusal = refuse_verifier(entry_point, "filter.entryPoint", settings)
        if refusal is not None:
            return refusal
    build = {
        "generate": _generate,
        "filter": _filter,
        PROBE: _probe,
        PROBE_VERIFY: _probe_verify,
        "select": _select,
        "pack": _pack,
    }[name]
    return build(dataset, finished, settings)


def _generate(dataset: DistillDataset, _: Mapping[str, StageStatus], settings: Settings) -> Stage | Invalid:
    spec = dataset.spec
    contract = _generation(dataset, settings)
    if isinstance(contract, Invalid):
        return contract
    devices = _devices(dataset, settings)
    if isinstance(devices, Invalid):
        return devices
    return Stage(
        outline=outline(dataset, "generate"),
        run=dataset.spec,
        command="generate",
        contract=contract,
        secrets=_keys(spec.teacher) if spec.teacher else (),
        credentials=credentials_of(dataset),
        profile=devices.profile if devices is not None else None,
        devices=devices.count if devices is not None else 0,
        sidecar=_sidecar(contract, devices) if devices is not None else None,
    )


def _devices(dataset: DistillDataset, settings: Settings) -> Devices | Invalid | None:
    """Give what serves the teacher beside each shard, if anything does."""
    serve = dataset.spec.teacher.serve if dataset.spec.teacher is not None else None
    return find_devices(settings, serve.accelerator, serve) if serve is not None else None


def _sidecar(contract: GenerateContract, devices: Devices) -> Sidecar | None:
    if contract.served is None:
        return None
    teacher = contract.teacher
    longest = max(teacher.sampling.max_tokens, teacher.sampling.retry_truncated_max_tokens or 0)
    at_once = max(1, teacher.max_concurrent_requests // contract.shards)
    return devices.sidecar(contract.served.uri, teacher.model, longest_sequence(longest, None), at_once)


def _keys(teacher: Teacher) -> tuple[SecretVariable, ...]:
    """Give the key of each model that has one, in a variable of its own: it is sent to no other's endpoints."""
    references = [teacher.api_key_secret_ref, *(each.api_key_secret_ref for each in teacher.additional_models)]
    variables = (
        ADDITIONAL_API_KEY_VARIABLE.format(number=number) if number else API_KEY_VARIABLE for number in count()
    )
    return tuple(
        SecretVariable(variable, reference.name, reference.key)
        for variable, reference in zip(variables, references, strict=False)
        if reference is not None
    )


def _filter(dataset: DistillDataset, _: Mapping[str, StageStatus], settings: Settings) -> Stage | Invalid:
    spec = dataset.spec
    parameters = _filtering(dataset)
    if spec.source.rows is not None:
        rows = RowSource.model_validate(spec.source.rows.model_dump())
        contract = FilterContract(owner=owner_of(dataset), output=UNPLACED, input=rows, filter=parameters)
    else:
        generation = _generation(dataset, settings)
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
        secrets=judge_key(spec.filter.judge if spec.filter else None),
        credentials=credentials_of(dataset),
    )


def _probe(dataset: DistillDataset, _: Mapping[str, StageStatus], settings: Settings) -> Stage | Invalid:
    probing = _probing(dataset)
    if isinstance(probing, Invalid):
        return probing
    select = dataset.spec.select
    reference = select.probe.endpoint.api_key_secret_ref if select is not None and select.probe is not None else None
    return Stage(
        outline=outline(dataset, PROBE),
        run=dataset.spec,
        command="generate",
        contract=probing,
        secrets=(SecretVariable(API_KEY_VARIABLE, reference.name, reference.key),) if reference is not None else (),
        credentials=credentials_of(dataset),
    )


def _probe_verify(dataset: DistillDataset, _: Mapping[str, StageStatus], settings: Settings) -> Stage | Invalid:
    probing = _probing(dataset)
    if isinstance(probing, Invalid):
        return probing
    judged = _filtering(dataset).model_dump(include=_VERIFYING)
    contract = FilterContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        input=probing.output,
        filter=FilterParameters.model_validate(judged),
        purpose="passRates",
    )
    return Stage(
        outline=outline(dataset, PROBE_VERIFY),
        run=dataset.spec,
        command="filter",
        contract=placed(contract, dataset, PROBE_VERIFY),
        secrets=judge_key(dataset.spec.filter.judge if dataset.spec.filter else None),
        credentials=credentials_of(dataset),
    )


def _probing(dataset: DistillDataset) -> GenerateContract | Invalid:
    """Give what the probe is asked: what the teacher is, by its own endpoint and sampling."""
    prompts, teacher, select = dataset.spec.source.prompts, dataset.spec.teacher, dataset.spec.select
    if prompts is None or teacher is None or select is None or select.probe is None:
        return Invalid("InvalidSpec", "spec.select.probe needs source.prompts and teacher.")
    probe = select.probe
    contract = GenerateContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        prompts=PromptSource.model_validate(prompts.model_dump()),
        teacher=TeacherParameters(
            endpoints=(probe.endpoint.url,),
            model=probe.endpoint.model,
            system_prompt=teacher.system_prompt,
            prompt_template=teacher.prompt_template,
            few_shot=teacher.few_shot,
            sampling=probe.sampling,
            max_concurrent_requests=probe.max_concurrent_requests,
            request_timeout_seconds=teacher.request_timeout_seconds,
            stall_timeout_seconds=teacher.stall_timeout_seconds,
            max_attempts=teacher.max_attempts,
            unavailable_timeout_seconds=teacher.unavailable_timeout_seconds,
        ),
    )
    return placed(contract, dataset, PROBE)


def _select(dataset: DistillDataset, finished: Mapping[str, StageStatus], _: Settings) -> Stage | Invalid:
    select = dataset.spec.select
    assert select is not None
    contract = SelectContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        input=_artifact_of("filter", finished),
        select=SelectParameters.model_validate(select.model_dump(exclude={"probe"})),
        probe=_artifact_of(PROBE_VERIFY, finished) if select.probe is not None else None,
    )
    return Stage(
        outline=outline(dataset, "select"),
        run=dataset.spec,
        command="select",
        contract=placed(contract, dataset, "select"),
    )


def _pack(dataset: DistillDataset, finished: Mapping[str, StageStatus], _: Settings) -> Stage | Invalid:
    spec = dataset.spec
    if spec.source.packed is not None:
        contract = PackContract(owner=owner_of(dataset), output=UNPLACED, input=spec.source.packed)
    elif spec.pack is None:
        return Invalid("InvalidSpec", "spec.pack is missing: it says how the kept generations are packed.")
    else:
        contract = PackContract(
            owner=owner_of(dataset),
            output=UNPLACED,
            input=_artifact_of("select" if "select" in finished else "filter", finished),
            pack=PackParameters.model_validate(spec.pack.model_dump()),
        )
    return Stage(
        outline=outline(dataset, "pack"),
        run=dataset.spec,
        command="pack",
        contract=placed(contract, dataset, "pack"),
        credentials=credentials_of(dataset) if spec.source.packed else None,
    )


def _artifact_of(name: str, finished: Mapping[str, StageStatus]) -> ArtifactReference:
    artifact = finished[name].artifact
    assert artifact is not None
    return ArtifactReference(uri=artifact.uri, digest=artifact.digest)


def _generation(dataset: DistillDataset, settings: Settings) -> GenerateContract | Invalid:
    prompts, teacher = dataset.spec.source.prompts, dataset.spec.teacher
    if prompts is None or teacher is None:
        return Invalid("InvalidSpec", "spec.source is incomplete: set source.prompts and teacher, or source.rows.")
    devices = _devices(dataset, settings)
    if isinstance(devices, Invalid):
        return devices
    asked = teacher.model_dump(exclude=_OPERATOR_ONLY)
    served = None
    if devices is not None and teacher.serve is not None:
        asked["endpoints"] = [devices.url]
        served = ServedTeacher(
            uri=teacher.serve.uri,
            device_target=devices.profile.device_target,
            devices=devices.count,
            server=devices.described,
        )
    contract = GenerateContract(
        owner=owner_of(dataset),
        output=UNPLACED,
        prompts=PromptSource.model_validate(prompts.model_dump()),
        teacher=TeacherParameters.model_validate(asked),
        served=served,
        shards=teacher.shards,
        filter=_filtering(dataset),
    )
    return placed(contract, dataset, "generate")


def _filtering(dataset: DistillDataset) -> FilterParameters:
    filtering = dataset.spec.filter
    return FilterParameters.model_validate(filtering.model_dump(exclude=JUDGE_KEY_REFERENCE) if filtering else {})
