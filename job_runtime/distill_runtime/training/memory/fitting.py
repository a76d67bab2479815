"""The parallelism that fits a device where the one asked for does not: the nearest, with the fewest changes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from distill_runtime.contract import Parallelism
from distill_runtime.training.memory.estimate import RESERVED_BYTES, Estimate, estimate_memory
from distill_runtime.training.memory.plan import MemoryPlan

TOLERANCE: Final = 0.15
"""How far the estimate may be off: what it is against published configurations. What needs no more than that above
what there is may fit, and is not refused."""
_MOST_DOUBLINGS: Final = 6
_LARGEST_DEGREE: Final = 1024
"""As the fields of Parallelism have it."""


@dataclass(frozen=True)
class Fit:
    """A way in which a run fits its devices."""

    parallelism: Parallelism
    nodes: int
    estimate: Estimate


PlanFor = Callable[[Parallelism, int], MemoryPlan | None]
"""Gives the plan of a parallelism on so many nodes, or None if the run cannot be divided so."""


def available(plan: MemoryPlan, estimate: Estimate, device_memory: int) -> int:
    """Give the bytes that MindSpore's pool can have of a device, at most what max_device_memory lets it."""
    return max(0, min(plan.pool, device_memory - estimate.communication - RESERVED_BYTES))


def fits(plan: MemoryPlan, estimate: Estimate, device_memory: int) -> bool:
    """Tell whether the estimate is within what there is."""
    return estimate.pool <= available(plan, estimate, device_memory)


def may_fit(plan: MemoryPlan, estimate: Estimate, device_memory: int) -> bool:
    """Tell whether it would be, were the estimate too high by its tolerance."""
    return estimate.pool <= (1 + TOLERANCE) * available(plan, estimate, device_memory)


def nearest_fit(asked: Parallelism, nodes: int, per_node: int, plan_for: PlanFor, device_memory: int) -> Fit | None:
    """Give the parallelism nearest to that asked for with which a run fits `nodes` nodes of `per_node` devices."""
    for parallelism in sorted(_others(asked, nodes * per_node, per_node), key=lambda other: _distance(asked, other)):
        plan = plan_for(parallelism, nodes)
        if plan is not None:
            estimate = estimate_memory(plan)
            if fits(plan, estimate, device_memory):
                return Fit(parallelism, nodes, estimate)
    return None


def fewest_nodes(asked: Parallelism, nodes: int, per_node: int, plan_for: PlanFor, device_memory: int) -> Fit | None:
    """Give the fit on the fewest nodes, among doublings of `nodes`; None if not even the most are enough."""
    for doublings in range(1, _MOST_DOUBLINGS + 1):
        fit = nearest_fit(asked, nodes << doublings, per_node, plan_for, device_memory)
        if fit is not None:
            return fit
    return None


def _others(asked: Parallelism, devices: int, per_node: int) -> Iterator[Parallelism]:
    """Give every way to divide `devices`, with tensor parallelism within a node, where its traffic is fast."""
    for tensor in _divisors(devices, per_node):
        for pipeline in _divisors(devices // tensor):
            for context in _divisors(devices // tensor // pipeline):
                for sequence in sorted({asked.sequence and tensor > 1, tensor > 1}):
                    yield Parallelism(
                        tensor=tensor,
                        pipeline=pipeline,
                        context=context,
                        context_attention=asked.context_attention if context > 1 else "whole",
                        sequence=sequence,
                        micro_batches=max(asked.micro_batches, pipeline) if pipeline > 1 else asked.micro_batches,
                    )


def _divisors(number: int, largest: int = _LARGEST_DEGREE) -> list[int]:
    return [each for each in range(1, min(number, largest) + 1) if number % each == 0]


def _distance(asked: Parallelism, other: Parallelism) -> tuple[int, float, int]:
    """Give how far one parallelism is from another: fields changed, then by how much, then what costs least traffic."""
    before, after = asked.model_dump(), other.model_dump()
    changed = sum(before[name] != after[name] for name in before)
    far = sum(abs(math.log2(after[name] / before[name])) for name in ("tensor", "pipeline", "context"))
    return changed, far, other.tensor * other.context
