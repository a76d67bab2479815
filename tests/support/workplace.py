"""A volume with a student and its data, and the command line of the stages that train it, in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.student import pack_samples, write_student, write_weights

from distill_runtime.contract import ArtifactReference, Result, TrainContract
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import msrun
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume
from distill_runtime.training.tensors import read_tensors, rounded, write_tensors


class Workplace:
    """A volume, and the command line on it.

    Attributes:
        root: the directory that the stages take for their volume.
        dataset: 60 short samples, packed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volume = Volume(root)
        write_student(root / "student")
        self.dataset: ArtifactReference = pack_samples(self.volume, 60)

    def start(self, contract: TrainContract, index: int = 0) -> subprocess.Popen[str]:
        """Start training."""
        if contract.output != "trained":
            # As if it had begun: that MindFormers has looked at the configuration is seen once.
            context = StageContext(self.volume, Reporter("msrun", "steps"))
            ArtifactWriter(self.volume, contract, msrun.fingerprints(contract, context))
        path = self.root / f"{contract.output}.json"
        path.write_text(contract.model_dump_json(by_alias=True))
        return subprocess.Popen(
            [sys.executable, "-m", "distill_runtime", "msrun", f"--contract={path}", f"--volume={self.root}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JOB_COMPLETION_INDEX": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, contract: TrainContract) -> Result:
        """Train to the end, which must be a good one."""
        return finished(self.start(contract))

    def losses(self, output: str) -> list[tuple[int, float]]:
        """Give the steps of a finished training with their losses."""
        return _losses(self.root / output)

    def logged(self, output: str) -> int:
        """Count the steps in the log of a training that is not done."""
        log = self.root / f"{output}.partial" / "training-log.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def wait_for_step(self, stage: subprocess.Popen[str], output: str, step: int) -> None:
        """Wait until a training that is under way has come so far."""
        while self.logged(output) < step:
            assert stage.poll() is None, stage.communicate()
            time.sleep(0.02)

    def kill_and_resume(self, contract: TrainContract) -> list[tuple[int, float]]:
        """Kill a training two steps or more after its first checkpoint, and have the next attempt go on from there.

        Returns:
            its losses, having made sure that those of the steps that were done twice are the same. From the second of
            them on, they depend on the optimizer's state as well as on the weights.
        """
        first = contract.checkpoint.every_steps
        stage = self.start(contract)
        self.wait_for_step(stage, contract.output, first + 2)
        stage.kill()
        stage.wait()
        for later in (self.root / f"{contract.output}.work" / "checkpoints").glob("step-*"):
            if later.name != f"step-{first:08}":  # it was quicker than the signal
                shutil.rmtree(later)
        before = _losses(self.root / f"{contract.output}.partial")
        result = self.run(contract.model_copy(update={"attempt": 2}))
        assert (result.metrics["resumedFromStep"], result.metrics["lostSteps"]) == (first, len(before) - first)
        losses = self.losses(contract.output)
        assert losses[: len(before)] == before
        return losses


def finished(stage: subprocess.Popen[str]) -> Result:
    """Wait for a stage to succeed, and give its result."""
    output, errors = stage.communicate()
    result = Result.model_validate_json(output)
    assert result.outcome == "Succeeded", errors
    return result


def write_halves(directory: Path, **changes: object) -> Path:
    """Write a model with random weights in bfloat16, as most base models are; `changes` replace keys of its config."""
    write_weights(write_student(directory, **changes, torch_dtype="bfloat16"))
    to_halves(directory / "model.safetensors")
    return directory


def to_halves(file: Path) -> None:
    """Make weights bfloat16."""
    tensors = read_tensors(file)
    halves = file.with_name("halves.safetensors")
    write_tensors({name: rounded(tensor, "BF16") for name, tensor in tensors.items()}, halves)
    halves.replace(file)


def load_halves(file: Path) -> dict[str, NDArray[np.float32]]:
    """Load bfloat16 weights, which numpy does not know."""
    content = file.read_bytes()
    tensors = read_tensors(file)
    assert {tensor.dtype for tensor in tensors.values()} == {"BF16"}
    return {
        name: (np.frombuffer(content, "<u2", tensor.bytes // 2, tensor.start).astype("<u4") << 16)
        .view("<f4")
        .reshape(tensor.shape)
        for name, tensor in tensors.items()
    }


def assert_moved_a_little(trained: Path, base: Path) -> None:
    """Each bfloat16 weight of a trained model is near its base's, as far as so few steps can take it."""
    before, after = (load_halves(directory / "model.safetensors") for directory in (base, trained))
    assert after.keys() == before.keys()
    for name, array in before.items():
        assert 1e-4 < np.abs(after[name] - array).max() < 0.03, name


def _losses(directory: Path) -> list[tuple[int, float]]:
    lines = (directory / "training-log.jsonl").read_text().splitlines()
    return [(record["step"], record["loss"]) for record in map(json.loads, lines)]
