"""Whether a run fits its devices, said before one is held."""

import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from distill_runtime.contract import Parallelism, Recompute, TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.configuration import InitialState, build_configuration
from distill_runtime.training.divisions import check_divisions
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.memory.estimate import RESERVED_BYTES, Estimate, estimate_memory
from distill_runtime.training.memory.fitting import Fit, available, fewest_nodes, fits, may_fit, nearest_fit
from distill_runtime.training.memory.plan import GIB, MemoryPlan, read_plan
from distill_runtime.training.schedule import Schedule, plan_schedule

logger = logging.getLogger(__name__)

_SHORTER: Final = "A smaller pack.sequenceLength needs less, too"


def check_memory(contract: TrainContract, inputs: TrainingInputs) -> Estimate | None:
    """Estimate the memory of a device; None on CPU, where there are no devices.

    Raises:
        WrongInput: DeviceMemoryTooSmall, with every item and the nearest parallelism that fits; OverrideInvalid.
    """
    if contract.device_target == "CPU":
        return None
    plan = _plan(contract, inputs, inputs.schedule)
    estimate = estimate_memory(plan)
    memory = contract.device_memory
    if memory is None or fits(plan, estimate, memory):
        return estimate
    figures = f"{_need(plan, estimate)}. {_have(plan, estimate, memory)}"
    if not may_fit(plan, estimate, memory):
        remedies = [remedy for each in _REMEDIES for remedy in each(contract, inputs, memory)]
        raise WrongInput("DeviceMemoryTooSmall", f"{figures}. {'. '.join([*remedies, _SHORTER])}")
    logger.warning("%s. That is within what the estimate may be off, so it is tried", figures)
    return estimate


def _plan(contract: TrainContract, inputs: TrainingInputs, schedule: Schedule) -> MemoryPlan:
    nowhere = Path("/")
    return read_plan(
        build_configuration(contract, inputs.architecture, schedule, inputs.data, InitialState(), nowhere, cpus=1)
    )


def _need(plan: MemoryPlan, estimate: Estimate) -> str:
    names = [field.name for field in fields(estimate) if isinstance(getattr(estimate, field.name), int)]
    beside = ("stage", "communication")
    items = ", ".join(f"{name} {_gib(getattr(estimate, name))}" for name in names if name not in beside)
    stage = f", in stage {estimate.stage + 1} of {plan.pipeline}" if plan.pipeline > 1 else ""
    return f"a device needs about {_gib(estimate.pool)} GiB in {estimate.moment}{stage} ({items})"


def _have(plan: MemoryPlan, estimate: Estimate, device_memory: int) -> str:
    return (
        f"MindSpore has {_gib(available(plan, estimate, device_memory))} GiB: of the profile's deviceMemory of "
        f"{_gib(device_memory)}, {_gib(estimate.communication)} are for communication, {_gib(RESERVED_BYTES)} are "
        f"reserved, and context.max_device_memory is {_gib(plan.pool)}"
    )


def _with_recompute(contract: TrainContract, inputs: TrainingInputs, device_memory: int) -> Iterator[str]:
    """Say it if the run would fit with all layers computed again, as without the user's own settings."""
    overrides = {key: value for key, value in contract.mindformers.items() if key != "recompute_config"}
    training = contract.training.model_copy(update={"recompute": Recompute()})
    settings = {
        "mindformers.recompute_config": len(overrides) < len(contract.mindformers),
        "training.recompute": training != contract.training,
    }
    if any(settings.values()):
        plan = _plan(
            contract.model_copy(update={"training": training, "mindformers": overrides}), inputs, inputs.schedule
        )
        estimate = estimate_memory(plan)
        if fits(plan, estimate, device_memory):
            named = " and ".join(name for name, changed in settings.items() if changed)
            yield f"Take out {named}, and {_gib(estimate.pool)} GiB are enough"


def _with_whole_attention(contract: TrainContract, inputs: TrainingInputs, device_memory: int) -> Iterator[str]:
    """Say it if the run would fit without the mask as a matrix."""
    if contract.parallelism.context_attention == "split":
        parallelism = contract.parallelism.model_copy(update={"context_attention": "whole"})
        plan = _plan(contract.model_copy(update={"parallelism": parallelism}), inputs, inputs.schedule)
        estimate = estimate_memory(plan)
        if fits(plan, estimate, device_memory):
            yield f"With parallelism.contextAttention: whole, {_gib(estimate.pool)} GiB are enough"


def _with_batch_size(contract: TrainContract, inputs: TrainingInputs, device_memory: int) -> Iterator[str]:
    """Say which half, quarter and so on of the batch size is enough."""
    size = contract.training.batch_size // 2
    while size:
        training = contract.training.model_copy(update={"batch_size": size})
        plan = _plan(contract.model_copy(update={"training": training}), inputs, inputs.schedule)
        estimate = estimate_memory(plan)
        if fits(plan, estimate, device_memory):
            yield f"With training.batchSize: {size}, {_gib(estimate.pool)} GiB are enough"
            return
        size //= 2


def _with_parallelism(contract: TrainContract, inputs: TrainingInputs, device_memory: int) -> Iterator[str]:
    """Say which parallelism fits, on these devices or on more."""

    def plan_for(parallelism: Parallelism, nodes: int) -> MemoryPlan | None:
        changed = contract.model_copy(update={"parallelism": parallelism, "nodes": nodes})
        try:
            check_divisions(changed, inputs.architecture, inputs.data.sequence_length)
            return _plan(changed, inputs, plan_schedule(changed, inputs.sequences))
        except WrongInput:
            return None

    asked, nodes, per_node = contract.parallelism, contract.nodes, contract.devices_per_node
    fit = nearest_fit(asked, nodes, per_node, plan_for, device_memory)
    if fit is not None:
        yield f"These devices are enough with parallelism {_described(fit)}"
        return
    yield "No other parallelism fits these devices"
    fit = fewest_nodes(asked, nodes, per_node, plan_for, device_memory)
    if fit is not None:
        devices = fit.nodes * per_node
        yield f"{devices} devices (accelerator.nodes: {fit.nodes}) are enough with parallelism {_described(fit)}"


def _described(fit: Fit) -> str:
    parallelism = fit.parallelism
    attention = ", contextAttention: split" if parallelism.context_attention == "split" else ""
    return (
        f"{{tensor: {parallelism.tensor}, pipeline: {parallelism.pipeline}, context: {parallelism.context}, "
        f"sequence: {str(parallelism.sequence).lower()}, microBatches: {parallelism.micro_batches}{attention}}} "
        f"({_gib(fit.estimate.pool)} GiB)"
    )


def _gib(amount: int) -> str:
    return f"{amount / GIB:.1f}"


_REMEDIES: Final = (_with_recompute, _with_whole_attention, _with_batch_size, _with_parallelism)
