"""What can be known of a run before a device is touched: its YAML, its room on the claim, its memory of a device."""

from pathlib import Path
from typing import Any, Final

from distill_runtime.contract import TrainContract
from distill_runtime.process.progress import Reporter
from distill_runtime.storage.volume import Volume
from distill_runtime.training.attempt import RunPaths, choose_start
from distill_runtime.training.claim import check_space
from distill_runtime.training.configuration import build_configuration
from distill_runtime.training.fence import Ground
from distill_runtime.training.findings import find, refuse
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.memory.check import check_memory

_NOWHERE: Final = Path("/nowhere")
"""Where a configuration that is only looked at would write."""


def look_ahead(contract: TrainContract, inputs: TrainingInputs, volume: Volume, reporter: Reporter) -> None:
    """Check all that can be known before a device is touched, and say what memory a device will need.

    Raises:
        WrongInput: as `first_configuration`, `refuse` and `check_memory`.
    """
    (findings,) = find([first_configuration(contract, inputs, volume)])
    refuse(findings, contract.mindformers)
    estimate = check_memory(contract, inputs)
    if estimate is not None:
        known = {} if contract.device_memory is None else {"deviceMemory": float(contract.device_memory)}
        reporter.update(metrics={"memoryPerDevice": float(estimate.total), **known})


def first_configuration(contract: TrainContract, inputs: TrainingInputs, volume: Volume) -> dict[str, Any]:
    """Give the YAML of a first attempt, once the claim has room for what it leads to.

    Raises:
        WrongInput: as `build_configuration` and `check_space`.
    """
    paths = RunPaths(
        partial=_NOWHERE, work=_NOWHERE, logs=_NOWHERE, ground=Ground(_NOWHERE, contract.attempt, contract.run)
    )
    start = choose_start(contract, inputs, paths, None)
    configuration = build_configuration(
        contract, inputs.architecture, inputs.schedule, inputs.data, start, paths.mindformers, cpus=1
    )
    check_space(contract, inputs, configuration, volume)
    return configuration
