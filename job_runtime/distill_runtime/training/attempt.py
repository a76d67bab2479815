"""One attempt at a run: where it starts, what its workers are told, and what came of it.

<output>.partial/training-log.jsonl  a line a step; becomes part of the artifact
<output>.partial/attempts.jsonl      a line an attempt; becomes part of the artifact
<output>.partial/training-report.html    see `live_report`; becomes part of the artifact
<output>.partial/tensorboard/        see `tensorboard`; becomes part of the artifact
<output>.work/checkpoints/           see `checkpoints`
<output>.work/attempt-<n>/           see `fence`: goes when the next attempt begins
    initial/                         base weights as MindFormers names them, where it cannot load them as they are
    base/                            links to the base weights, where MindFormers writes beside what it loads
    stopping/                        see `stopping`
<output>.work/mindformers/           what MindFormers writes for itself
<output>.work/compiled/              compiled graphs, see `worker_environment`
<output>.logs/attempt-<n>-<host>/    the workers' output, this node's YAML, assignment and note (`attempt_log`)
<output>.logs/export-<n>-<host>/     the output of the process that puts the weights together
"""

import logging
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from distill_runtime.contract import TrainContract
from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.process.child_process import make_logs_directory
from distill_runtime.storage.artifact import partial_directory, work_directory
from distill_runtime.storage.volume import Volume
from distill_runtime.training.assignment import Assignment
from distill_runtime.training.attempt_log import AttemptRecord
from distill_runtime.training.checkpoints import Checkpoint
from distill_runtime.training.configuration import InitialState, build_configuration
from distill_runtime.training.fence import Ground
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.tensors import read_directory, write_index, write_tensors
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord
from distill_runtime.training.weight_layout import weave, weight_layout
from distill_runtime.training.weight_names import expected_shapes

logger = logging.getLogger(__name__)

CONFIGURATION_NAME: Final = "mindformers.yaml"
_INITIAL_NAME: Final = "model.safetensors"
"""One file however large it is: of several, MindSpore would have to be told which has what."""
_LOSS_STEPS: Final = 10
"""Last steps whose mean is reported as the loss: one batch says little."""


@dataclass(frozen=True)
class RunPaths:
    """Where a run keeps things, for every node the same but `logs`, for every attempt but `logs` and `ground`."""

    partial: Path
    work: Path
    logs: Path
    ground: Ground

    @property
    def training_log(self) -> Path:
        """The log of steps."""
        return self.partial / "training-log.jsonl"

    @property
    def attempts(self) -> Path:
        """The log of attempts."""
        return self.partial / "attempts.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Event files of TensorBoard."""
        return self.partial / "tensorboard"

    @property
    def all_logs(self) -> Path:
        """Where each node of each attempt has its logs."""
        return self.logs.parent

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints."""
        return self.work / "checkpoints"

    @property
    def stopping(self) -> Path:
        """Where the workers agree on when to stop."""
        return self.ground.directory / "stopping"

    @property
    def initial(self) -> Path:
        """Base weights under MindFormers' names."""
        return self.ground.directory / "initial"

    @property
    def base(self) -> Path:
        """Links to the base weights."""
        return self.ground.directory / "base"

    @property
    def mindformers(self) -> Path:
        """MindFormers' own output directory."""
        return self.work / "mindformers"

    @property
    def compiled(self) -> Path:
        """Compiled graphs."""
        return self.work / "compiled"

    @property
    def strategies(self) -> Path:
        """Where MindFormers writes how each worker's part of the weights is cut."""
        return self.mindformers / "strategy"

    @property
    def unified(self) -> Path:
        """Whole weights, put together from the workers' parts."""
        return self.work / "unified"


def make_paths(contract: TrainContract, volume: Volume, stage: Literal["attempt", "export"] = "attempt") -> RunPaths:
    """Choose this node's paths; the directory for its logs is made.

    Args:
        stage: whose logs they are.
    """
    complete = volume.resolve(contract.output)
    work = work_directory(complete)
    return RunPaths(
        partial=partial_directory(complete),
        work=work,
        ground=Ground(work, contract.attempt, contract.run),
        logs=make_logs_directory(complete, f"{stage}-{contract.attempt}"),
    )


def choose_start(
    contract: TrainContract, inputs: TrainingInputs, paths: RunPaths, checkpoint: Checkpoint | None
) -> InitialState:
    """Say where training starts: the checkpoint if there is one, else the base weights, else random ones."""
    if checkpoint is not None:
        resume = True if len(checkpoint.files) == 1 else checkpoint.files[0].name
        return InitialState(path=checkpoint.load_path, resume=resume)
    if contract.model.initialization == "random":
        return InitialState()
    reshard = contract.device_target == "Ascend" and inputs.schedule.devices > 1
    if inputs.architecture.newer or (contract.device_target == "CPU" and inputs.schedule.devices > 1):
        return InitialState(path=paths.initial, reshard=reshard)
    return InitialState(path=paths.base if reshard else inputs.model, reshard=reshard)


def place_initial_weights(contract: TrainContract, inputs: TrainingInputs, paths: RunPaths) -> None:
    """Write the base weights under MindFormers' names, and as its network has them.

    For a network of the newer kind always: MindFormers would do it itself, in a child of the first worker that holds
    all weights in memory while the others wait with their devices (utils/load_checkpoint_utils.py, 1.8).

    For data-parallel workers on CPU too: MindFormers splits whole weights over its workers only by semi-automatic
    parallelism, which the CPU backend lacks. So each of them gets a directory as if a checkpoint were resumed; they all
    link to one copy.
    """
    tensors = weave(weight_layout(inputs.architecture), read_directory(inputs.model))
    shutil.rmtree(paths.initial, ignore_errors=True)
    paths.initial.mkdir(parents=True)
    if contract.device_target == "Ascend" or inputs.schedule.devices == 1:
        write_tensors(tensors, paths.initial / _INITIAL_NAME)
        return
    for rank in range(inputs.schedule.devices):
        directory = paths.initial / f"rank_{rank}"
        directory.mkdir()
        file = directory / _INITIAL_NAME
        if rank == 0:
            write_tensors(tensors, file)
        else:
            file.symlink_to(Path("..") / "rank_0" / file.name)


def link_base_weights(inputs: TrainingInputs, paths: RunPaths) -> None:
    """Link the base weights where MindFormers may write: to cut them up it puts a param_name_map.json beside them.

    (utils/load_checkpoint_utils.py, 1.8.) The base's own directory may belong to somebody else, and other runs may load
    from it at the same time. That map is made from the index of the files, which not every base has.
    """
    names = expected_shapes(inputs.architecture)
    tensors = {name: tensor for name, tensor in read_directory(inputs.model).items() if name in names}
    shutil.rmtree(paths.base, ignore_errors=True)
    paths.base.mkdir(parents=True)
    files = {tensor.file for tensor in tensors.values()}
    for file in files:
        (paths.base / file.name).symlink_to(file.absolute())
    if len(files) > 1:
        file_of = {name: tensor.file.name for name, tensor in tensors.items()}
        write_index(file_of, sum(tensor.bytes for tensor in tensors.values()), paths.base)


def write_orders(
    contract: TrainContract, inputs: TrainingInputs, paths: RunPaths, checkpoint: Checkpoint | None
) -> Path:
    """Write the YAML and the assignment for this node's workers; gives the assignment's path."""
    schedule = inputs.schedule
    start = choose_start(contract, inputs, paths, checkpoint)
    configuration = build_configuration(
        contract, inputs.architecture, schedule, inputs.data, start, paths.mindformers, available_cpus()
    )
    configuration_path = paths.logs / CONFIGURATION_NAME
    configuration_path.write_text(to_yaml(configuration), encoding="utf-8")
    assignment = Assignment(
        device_target=contract.device_target,
        configuration=configuration_path,
        checkpoints=paths.checkpoints,
        checkpoint_every_steps=contract.checkpoint.every_steps,
        checkpoints_kept=contract.checkpoint.keep,
        checkpoint_exported=contract.checkpoint.export,
        ground=paths.ground.directory,
        training_log=paths.ground.log_link,
        compiled=paths.compiled,
        failures=paths.logs,
        stopping=paths.stopping,
        workers=schedule.devices,
        # With pipeline parallelism the loss is known where the last layers are.
        reporting_rank=schedule.devices - schedule.devices // contract.parallelism.pipeline,
        summed_losses=contract.parallelism.micro_batches if contract.parallelism.pipeline > 1 else 1,
        steps_per_epoch=schedule.steps_per_epoch,
        total_steps=schedule.total_steps,
        resume_step=0 if checkpoint is None else checkpoint.step,
    )
    path = paths.logs / "assignment.json"
    path.write_text(assignment.model_dump_json(by_alias=True, indent=2), encoding="utf-8")
    return path


def to_yaml(configuration: dict[str, Any]) -> str:
    """Write YAML in the order in which it was built, without anchors."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(configuration, Dumper=Plain, sort_keys=False)


def training_metrics(
    records: list[StepRecord], attempts: list[AttemptRecord], inputs: TrainingInputs, work: StepWork
) -> dict[str, float]:
    """Sum a run up in figures: of all its steps, and of those that the log has, if it has any.

    Args:
        records: the steps that are in the log, in order.
        attempts: all attempts, in order.
        work: what a step is.
    """
    schedule = inputs.schedule
    sequences = schedule.global_batch_size * schedule.total_steps
    logged = {}
    if records:
        logged = {
            "loss": statistics.fmean(record.loss for record in records[-_LOSS_STEPS:]),
            # The median, because the first step of an attempt compiles and others save checkpoints.
            **work.speed(statistics.median(record.seconds for record in records)),
        }
    return {
        **logged,
        "steps": schedule.total_steps,
        "trainedTokens": round(inputs.labelled_tokens * sequences / inputs.sequences),
        "resumedFromStep": attempts[-1].resumed_from_step,
        **attempts_metrics(attempts, schedule.devices),
    }


def attempts_metrics(attempts: list[AttemptRecord], devices: int) -> dict[str, float]:
    """Sum up what the attempts cost, in steps and in minutes of devices.

    Devices wait from an attempt's begin to its end, while they do no step: for each other, for compiling, loading and
    saving.
    """
    computing = sum(attempt.training_seconds or 0 for attempt in attempts)
    waiting = sum(max(attempt.seconds - (attempt.training_seconds or 0), 0) for attempt in attempts)
    lost = sum(attempt.lost_seconds for attempt in attempts)
    return {
        "lostSteps": sum(attempt.lost_steps for attempt in attempts),
        "computingDeviceMinutes": round(computing * devices / 60, 1),
        "waitingDeviceMinutes": round(waiting * devices / 60, 1),
        "lostDeviceMinutes": round(lost * devices / 60, 1),
    }
