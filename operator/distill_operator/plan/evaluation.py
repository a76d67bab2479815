"""The stages of an EvalRun: a preflight without devices where devices are scarce, then eval, then compare if asked.

All that is evaluated is an endpoint to the stage: one that is there, or the server beside it, which serves weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from distill_operator.api import EvalRun, FinetuneRun, StageStatus
from distill_operator.api.evaluation import Endpoint
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.benchmarks import resolve_benchmark
from distill_operator.plan.comparison import baseline_keys, plan_comparison
from distill_operator.plan.dependencies import input_artifact
from distill_operator.plan.serving import Devices, find_devices, longest_sequence
from distill_operator.plan.stages import (
    UNPLACED,
    Invalid,
    Outline,
    SecretVariable,
    Sidecar,
    Stage,
    Waiting,
    credentials_of,
    owner_of,
    placed,
)
from distill_operator.plan.verifiers import judge_key, refuse_verifier
from distill_operator.settings import Settings
from distill_runtime.contract import ArtifactReference, EvalContract
from distill_runtime.contract.stages import API_KEY_VARIABLE, EndpointTarget, WeightsTarget

PREFLIGHT = "eval-preflight"
COMPARE = "compare"


def stage_names(run: EvalRun, settings: Settings) -> tuple[str, ...]:
    """Give the stages: wrong input must be found before NPUs are held, and CPU Pods hold none."""
    accelerator = run.spec.accelerator
    profile = settings.profiles.get(accelerator.profile) if accelerator is not None else None
    asking = (PREFLIGHT, "eval") if profile is not None and profile.resource else ("eval",)
    return (*asking, COMPARE) if run.spec.compare_with or run.spec.gate is not None else asking


def dependencies(run: EvalRun) -> tuple[ResourceKey, ...]:
    """Give the training run that the evaluation waits for, if there is one, and the evaluations to compare with."""
    target = _finetune_key(run)
    return (*((target,) if target is not None else ()), *baseline_keys(run))


def _finetune_key(run: EvalRun) -> ResourceKey | None:
    """Give the training run whose weights are evaluated, or are served by the endpoint."""
    target = run.spec.target
    endpoint = target.endpoint
    waits_for = endpoint.wait_for.finetune_ref if endpoint is not None and endpoint.wait_for is not None else None
    reference = target.finetune_ref or waits_for
    return ResourceKey("FinetuneRun", run.metadata.namespace, reference.name) if reference is not None else None


def outline(run: EvalRun, name: str) -> Outline:
    """Give what the stage `name` is by the object alone."""
    return Outline(name=name, reason={PREFLIGHT: "Checking", COMPARE: "Comparing"}.get(name, "Evaluating"))


def plan_stage(
    run: EvalRun,
    name: str,
    finished: Mapping[str, StageStatus],
    known: Dependencies,
    settings: Settings,
) -> Stage | Waiting | Invalid:
    """Give the stage `name`, or why it cannot be planned."""
    if name == COMPARE:
        return plan_comparison(run, outline(run, name), finished["eval"], known)
    if (refusal := refuse_verifier(run.spec.protocol.entry_point, "protocol.entryPoint", settings)) is not None:
        return refusal
    resolved = resolve_benchmark(run.spec.benchmark, run.spec.protocol)
    if isinstance(resolved, Invalid):
        return resolved
    target = _target(run, known, settings)
    if isinstance(target, Waiting | Invalid):
        return target
    benchmark, protocol = resolved
    contract = EvalContract(
        owner=owner_of(run), output=UNPLACED, target=target.contract, benchmark=benchmark, protocol=protocol
    )
    preflight = name == PREFLIGHT
    return Stage(
        outline=outline(run, name),
        run=run.spec,
        command="eval",
        contract=placed(contract, run, "eval"),
        profile=target.devices.profile if isinstance(target, _Weights) and not preflight else None,
        input=target.contract.weights,
        devices=target.contract.devices if isinstance(target, _Weights) and not preflight else 0,
        check_only=preflight,
        secrets=(*_api_key(run.spec.target.endpoint), *judge_key(run.spec.protocol.judge)),
        credentials=credentials_of(run),
        sidecar=None if preflight else _sidecar(target, contract, finished.get(PREFLIGHT)),
    )


@dataclass(frozen=True)
class _Endpoint:
    """A model that is served elsewhere."""

    contract: EndpointTarget


@dataclass(frozen=True)
class _Weights:
    """Weights, and what serves them."""

    contract: WeightsTarget
    devices: Devices


def _target(run: EvalRun, known: Dependencies, settings: Settings) -> _Endpoint | _Weights | Waiting | Invalid:
    """Give what is evaluated; what the spec and the configuration alone say is wrong comes before any waiting."""
    endpoint, key = run.spec.target.endpoint, _finetune_key(run)
    devices = _devices(run, settings) if endpoint is None else None
    weights = input_artifact(run, key, known, FinetuneRun) if key is not None else None
    if isinstance(devices, Invalid):
        return devices
    if isinstance(weights, Waiting | Invalid):
        return weights
    if endpoint is not None:
        return _Endpoint(EndpointTarget(url=endpoint.url, model=endpoint.model, weights=weights))
    assert devices is not None
    return _weights(run, weights, devices)


def _devices(run: EvalRun, settings: Settings) -> Devices | Invalid:
    accelerator = run.spec.accelerator
    if accelerator is None:
        return Invalid("InvalidSpec", "spec.accelerator is missing: it says which devices serve the weights.")
    return find_devices(settings, accelerator, run.spec.serve)


def _weights(run: EvalRun, weights: ArtifactReference | None, devices: Devices) -> _Weights | Invalid:
    model = run.spec.target.model
    if weights is None and model is None:
        return Invalid("InvalidSpec", "spec.target is empty: set one of finetuneRef, model, endpoint.")
    contract = WeightsTarget(
        weights=weights,
        uri=model.uri if model is not None else None,
        device_target=devices.profile.device_target,
        devices=devices.count,
        url=devices.url,
        server=devices.described,
    )
    return _Weights(contract, devices)


def _sidecar(target: _Endpoint | _Weights, contract: EvalContract, preflight: StageStatus | None) -> Sidecar | None:
    if isinstance(target, _Endpoint):
        return None
    weights = target.contract
    uri = weights.weights.uri if weights.weights is not None else weights.uri
    positions = preflight.metrics.get("positions") if preflight is not None else None
    longest = longest_sequence(contract.protocol.max_tokens, positions)
    return target.devices.sidecar(str(uri), weights.model, longest, contract.requests_at_once)


def _api_key(endpoint: Endpoint | None) -> tuple[SecretVariable, ...]:
    if endpoint is None or endpoint.api_key_secret_ref is None:
        return ()
    reference = endpoint.api_key_secret_ref
    return (SecretVariable(name=API_KEY_VARIABLE, secret=reference.name, key=reference.key),)
