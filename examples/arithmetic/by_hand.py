"""The arithmetic example without Kubernetes: the same five programs, one after another, from the same manifests.

    PYTHONPATH=job_runtime python examples/arithmetic/by_hand.py DIRECTORY

DIRECTORY stands for the claim. Started again, it goes on where it was: every stage finds what is complete.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from distill_runtime.contract import (
    ArtifactReference,
    Contract,
    EvalContract,
    FilterContract,
    GenerateContract,
    PackContract,
    Result,
    TeacherParameters,
    TrainContract,
)
from distill_runtime.contract.stages import SERVED_MODEL, WeightsTarget

EXAMPLE = Path(__file__).parent
FAULTS = ("--wrong=0.15", "--truncated=0.05", "--too-many-requests=0.01", "--unavailable=0.01")

Spec = Mapping[str, Any]


def read_spec(name: str) -> Spec:
    """Read the spec of one of the example's manifests."""
    spec: Spec = yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))["spec"]
    return spec


def generate_contract(dataset: Spec, endpoint: str) -> Contract:
    """Have the local teacher asked, in one shard."""
    known = {field.alias for field in TeacherParameters.model_fields.values()}
    teacher = {name: value for name, value in dataset["teacher"].items() if name in known}
    return GenerateContract.model_validate(
        {
            "output": "by-hand/generate",
            "prompts": dataset["source"]["prompts"],
            "teacher": teacher | {"endpoints": [endpoint]},
            "filter": dataset["filter"],
        }
    )


def filter_contract(dataset: Spec) -> Contract:
    """Have the generations verified."""
    return FilterContract.model_validate(
        {"output": "by-hand/filter", "input": "by-hand/generate", "filter": dataset["filter"]}
    )


def pack_contract(dataset: Spec, kept: ArtifactReference) -> Contract:
    """Have what was kept packed."""
    return PackContract.model_validate({"output": "by-hand/pack", "input": kept, "pack": dataset["pack"]})


def train_contract(finetune: Spec, packed: ArtifactReference) -> Contract:
    """Have the student trained."""
    return TrainContract.model_validate(
        {
            "output": "by-hand/train",
            "dataset": packed,
            "model": finetune["model"],
            "training": finetune["training"],
            "parallelism": {},
            "checkpoint": finetune["checkpoint"],
            "deviceTarget": "CPU",
        }
    )


def eval_contract(evaluation: Spec, weights: ArtifactReference, url: str) -> Contract:
    """Have the student scored that is served there."""
    return EvalContract.model_validate(
        {
            "output": "by-hand/eval",
            "target": WeightsTarget(weights=weights, device_target="CPU", url=url),
            "benchmark": evaluation["benchmark"],
            "protocol": evaluation["protocol"],
        }
    )


def run(contract: Contract, volume: Path) -> ArtifactReference:
    """Run one stage as its Pod would, and give its artifact."""
    path, result_path = (volume / "by-hand" / f"{contract.stage}{suffix}" for suffix in (".json", "-result.json"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(contract.to_json(), indent=2), encoding="utf-8")
    command = ["-m", "distill_runtime", contract.stage, "--contract", path, "--volume", volume, "--result", result_path]
    print("\n$ python", *command, flush=True)
    started = time.monotonic()
    process = subprocess.run([sys.executable, *command], check=False)
    if process.returncode:
        sys.exit(process.returncode)  # its log, just above, says why
    result = Result.model_validate_json(result_path.read_bytes())
    print(f"{contract.stage}, {time.monotonic() - started:.0f} s: {result.message}", flush=True)
    assert result.artifact is not None
    return result.artifact


def evaluate(evaluation: Spec, weights: ArtifactReference, volume: Path) -> ArtifactReference:
    """Score the student, with a server beside the stage."""
    with student(volume / weights.uri, volume / "by-hand" / "server") as endpoint:
        return run(eval_contract(evaluation, weights, endpoint), volume)


def write_inputs(volume: Path) -> None:
    """Write prompts, benchmark and the untrained student."""
    subprocess.run([sys.executable, EXAMPLE / "teacher" / "inputs.py", volume / "arithmetic"], check=True)


@contextmanager
def teacher() -> Iterator[str]:
    """Have the rule-based teacher running, and give its endpoint."""
    with _running([EXAMPLE / "teacher" / "server.py", *FAULTS], {}, subprocess.DEVNULL) as endpoint:
        yield endpoint


@contextmanager
def student(model: Path, logs: Path) -> Iterator[str]:
    """Have the trained student served, as in a terminal beside, and give its endpoint."""
    server = ["-m", "distill_runtime.serving.server", f"--model={model}", f"--name={SERVED_MODEL}"]
    environment = {"LOCAL_DEFAULT_PATH": str(logs)}  # where MindFormers keeps its logs
    with _running([*server, "--device-target=CPU", "--batch-size=64"], environment, None) as endpoint:
        yield endpoint


@contextmanager
def _running(command: Sequence[str | Path], environment: Mapping[str, str], output: int | None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [sys.executable, *command, f"--port={port}"]
    process = subprocess.Popen(arguments, env={**os.environ, **environment}, stdout=output)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Run the example from its inputs to its score."""
    parser = argparse.ArgumentParser(description="Run the arithmetic example without Kubernetes.")
    parser.add_argument("directory", type=Path, help="stands for the claim: inputs and artifacts go there")
    volume: Path = parser.parse_args().directory.resolve()
    dataset, finetune, evaluation = (read_spec(f"{name}.yaml") for name in ("dataset", "finetune", "eval"))
    write_inputs(volume)
    with teacher() as endpoint:
        run(generate_contract(dataset, endpoint), volume)
    kept = run(filter_contract(dataset), volume)
    packed = run(pack_contract(dataset, kept), volume)
    weights = run(train_contract(finetune, packed), volume)
    evaluate(evaluation, weights, volume)


if __name__ == "__main__":
    main()
