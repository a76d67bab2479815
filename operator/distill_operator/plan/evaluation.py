"""The stages of an EvalRun: a preflight without devices where devices are scarce, then eval, then compare if asked."""

from collections.abc import Mapping

from distill_operator.api import EvalRun, FinetuneRun, StageStatus
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.benchmarks import resolve_benchmark
from distill_operator.plan.comparison import baseline_keys, plan_comparison
from distill_operator.plan.dependencies import input_artifact
from distill_operator.plan.stages import (
    UNPLACED,
    Invalid,
    Outline,
    Stage,
    Waiting,
    credentials_of,
    find_profile,
    owner_of,
    placed,
)
from distill_operator.plan.verifiers import refuse_verifier
from distill_operator.settings import Profile, Settings
from distill_runtime.contract import EvalContract
from distill_runtime.contract.stages import EndpointTarget, WeightsTarget

PREFLIGHT = "eval-preflight"
COMPARE = "compare"


def stage_names(run: EvalRun, settings: Settings) -> tuple[str, ...]:
    """Give the stages: wrong input must be found before NPUs are held, and CPU Pods hold none."""
    accelerator = run.spec.accelerator
    profile = settings.profiles.get(accelerator.profile) if accelerator is not None else None
    asking = (PREFLIGHT, "eval") if profile is not None and profile.resource else ("eval",)
    return (*asking, COMPARE) if run.spec.compare_with or run.spec.gate is not None else asking


def dependencies(run: EvalRun) -> tuple[ResourceKey, ...]:
    """Give the training run that the evaluation waits for, if it evaluates one, and the evaluations to compare with."""
    target = _finetune_key(run)
    return (*((target,) if target is not None else ()), *baseline_keys(run))


def _finetune_key(run: EvalRun) -> ResourceKey | None:
    reference = run.spec.target.finetune_ref
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
    accelerator = run.spec.accelerator
    profile = find_profile(settings, accelerator) if accelerator is not None else None
    if isinstance(profile, Invalid):
        return profile
    if (refusal := refuse_verifier(run.spec.protocol.entry_point, "protocol.entryPoint", settings)) is not None:
        return refusal
    resolved = resolve_benchmark(run.spec.benchmark, run.spec.protocol)
    if isinstance(resolved, Invalid):
        return resolved
    target = _target(run, known, profile)
    if isinstance(target, Waiting | Invalid):
        return target
    benchmark, protocol = resolved
    contract = EvalContract(owner=owner_of(run), output=UNPLACED, target=target, benchmark=benchmark, protocol=protocol)
    preflight = name == PREFLIGHT
    return Stage(
        outline=outline(run, name),
        run=run.spec,
        command="eval",
        contract=placed(contract, run, "eval"),
        profile=None if preflight else profile,
        input=target.weights if isinstance(target, WeightsTarget) else None,
        devices=accelerator.devices_per_node if accelerator is not None and not preflight else 0,
        check_only=preflight,
        credentials=credentials_of(run),
    )


def _target(
    run: EvalRun, known: Dependencies, profile: Profile | None
) -> WeightsTarget | EndpointTarget | Waiting | Invalid:
    target, accelerator = run.spec.target, run.spec.accelerator
    if target.endpoint is not None:
        return EndpointTarget(url=target.endpoint.url, model=target.endpoint.model)
    if profile is None or accelerator is None:
        return Invalid("InvalidSpec", "spec.accelerator is missing: it says which devices serve the weights.")
    if target.model is not None:
        return WeightsTarget(
            uri=target.model.uri, device_target=profile.device_target, devices=accelerator.devices_per_node
        )
    key = _finetune_key(run)
    if key is None:
        return Invalid("InvalidSpec", "spec.target is empty: set one of finetuneRef, model, endpoint.")
    weights = input_artifact(run, key, known, FinetuneRun)
    if isinstance(weights, Waiting | Invalid):
        return weights
    return WeightsTarget(weights=weights, device_target=profile.device_target, devices=accelerator.devices_per_node)
