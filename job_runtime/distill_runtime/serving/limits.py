"""What our own server can be asked: it computes the whole sequence anew for every token.

So an answer takes about (parameters) x (length of the answer)^2 operations: two for each parameter and position, and on
average half of the positions at each token. That is nothing for the example's student and years for a large model's
chain of thought, which would be found out only when requests run into their time-out, again and again.
"""

from collections.abc import Mapping
from math import prod
from typing import Final

from distill_runtime.contract import Protocol
from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.weight_names import expected_shapes

LARGEST_BATCH: Final = 64
"""Rows that it computes at once: on a CPU, more make a step longer without making a token cheaper."""
_OPERATIONS_PER_SECOND: Final[Mapping[DeviceTarget, float]] = {"CPU": 1e11, "Ascend": 1e14}
"""Of a processor and of a device, kept up over a batch. Generous, since it is to tell what is out of the question: more
than an x86 processor was measured to do (6.5e10, float32), a third of what a 910B is said to do (3e14, bfloat16)."""


def check_servable(
    architecture: Architecture, protocol: Protocol, device_target: DeviceTarget, batch_size: int, cpus: int
) -> None:
    """Check that a batch of the longest answers ends within the time that a request may take.

    Args:
        batch_size: rows that are computed at once.
        cpus: processors that there are; without meaning on a device.

    Raises:
        WrongInput: TooLargeToServe.
    """
    length = min(protocol.max_tokens, architecture.max_position_embeddings)
    parameters = sum(prod(shape) for shape in expected_shapes(architecture).values())
    rate = _OPERATIONS_PER_SECOND[device_target] * (cpus if device_target == "CPU" else 1)
    seconds = batch_size * parameters * length**2 / rate
    if seconds > protocol.request_timeout_seconds:
        raise WrongInput(
            "TooLargeToServe",
            f"the server mindformers computes all of a sequence for every token: {batch_size} answers of {length} "
            f"tokens by a model of {parameters / 1e6:,.1f} M parameters take it {seconds / 3600:,.1f} h at best, a "
            f"request may take {protocol.request_timeout_seconds / 3600:,.1f} h. Name another server, such as "
            "spec.serve: {server: vllm-ascend}, or lower protocol.maxTokens or protocol.maxConcurrentRequests",
        )
