"""The arithmetic of a training run: devices, batches, steps."""

from dataclasses import dataclass

from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import WrongInput


@dataclass(frozen=True)
class Schedule:
    """How many of everything.

    Attributes:
        devices: worker processes in all.
        data_parallel: groups of devices that each hold a whole model.
        global_batch_size: packed sequences in a step.
        steps_per_epoch: whole batches in the data; the remainder is left out of each epoch, another one each time.
        total_steps: after which training is done.
        warmup_steps: steps over which the learning rate rises.
    """

    devices: int
    data_parallel: int
    global_batch_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int

    @property
    def epochs(self) -> int:
        """Passes over the data that are at least begun."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def counts(self) -> dict[str, int]:
        """What a result says of it, by the names of the status."""
        return {"globalBatchSize": self.global_batch_size}


def plan_schedule(contract: TrainContract, sequences: int) -> Schedule:
    """Work out the steps of a run over `sequences` packed sequences.

    Raises:
        WrongInput: ParallelismMismatch or DatasetTooSmall.
    """
    parallelism = contract.parallelism
    devices = contract.nodes * contract.devices_per_node
    model_devices = parallelism.tensor * parallelism.pipeline * parallelism.context
    if devices % model_devices:
        raise WrongInput(
            "ParallelismMismatch",
            f"{devices} devices ({contract.nodes} nodes x {contract.devices_per_node}) cannot be divided into groups "
            f"of tensor x pipeline x context = {parallelism.tensor} x {parallelism.pipeline} x {parallelism.context} "
            f"= {model_devices}; change parallelism, or accelerator.nodes and devicesPerNode",
        )
    data_parallel = devices // model_devices
    micro_batches = parallelism.micro_batches if parallelism.pipeline > 1 else 1
    global_batch_size = contract.training.batch_size * micro_batches * data_parallel
    # On CPU each worker reads a shard. MindSpore makes them equally large, by giving some sequences to two.
    read = -(-sequences // data_parallel) * data_parallel if contract.device_target == "CPU" else sequences
    steps_per_epoch = read // global_batch_size
    if not steps_per_epoch:
        raise WrongInput(
            "DatasetTooSmall",
            f"the dataset has {sequences} packed sequences, a step takes {global_batch_size} (batchSize "
            f"{contract.training.batch_size} x micro-batches {micro_batches} x data parallel {data_parallel}), "
            "so there is not one step; lower training.batchSize or use more data",
        )
    total_steps = steps_per_epoch * contract.training.epochs
    if contract.training.max_steps is not None:
        total_steps = min(total_steps, contract.training.max_steps)
    return Schedule(
        devices=devices,
        data_parallel=data_parallel,
        global_batch_size=global_batch_size,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=int(total_steps * contract.training.warmup_ratio),
    )
