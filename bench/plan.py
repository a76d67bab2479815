"""Planning a run of 4,096 devices: from its manifest to Jobs, MindFormers' YAML, and what the preflight computes of it.

MindFormers' own reading of the YAML, most of which is the import of MindSpore, is not in it, nor are model and data.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench import Row
from distill_operator.api import FinetuneRun
from distill_operator.observation import ResourceKey
from distill_operator.plan.finetune import plan_stage
from distill_operator.plan.manifests import attempt_manifests
from distill_operator.plan.stages import Stage
from distill_operator.settings import Settings
from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.configuration import InitialState, TrainingData, build_configuration
from distill_runtime.training.divisions import check_divisions
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.memory.check import check_memory
from distill_runtime.training.schedule import plan_schedule
from tests.support.architectures import QWEN_2_5_7B

ROOT = Path(__file__).parents[1]
NODES = 512
ROUNDS = 50
SEQUENCES = 1_000_000

SECONDS = 1.0
AS_LONG = 1.5

UID = "11111111-2222-3333-4444-555555555555"
FITS: Mapping[str, Any] = {"tensor": 4, "pipeline": 2, "sequence": True, "microBatches": 8}
DOES_NOT_FIT: Mapping[str, Any] = {}


def measure() -> Iterator[Row]:
    """Measure it for one node and for many, and with the search for a parallelism that fits."""
    one, many = (_seconds(nodes, FITS, 32768) for nodes in (1, NODES))
    ratio = many / one
    yield Row(
        f"plan: {NODES} nodes of 8 devices, CPU-ms",
        f"{1000 * many:.1f} ({ratio:.2f}x)",
        f"one node {1000 * one:.1f}",
        f"<= {AS_LONG}x the peer, < {SECONDS:.0f} s",
        ratio <= AS_LONG and many < SECONDS,
    )
    refused = _seconds(NODES, DOES_NOT_FIT, 131072)
    yield Row(
        "plan: the same, of a run that does not fit, with what would",
        f"{1000 * refused:.1f}",
        "",
        f"< {SECONDS:.0f} s",
        refused < SECONDS,
    )


def _seconds(nodes: int, parallelism: Mapping[str, Any], sequence_length: int) -> float:
    """CPU-seconds of one planning, on average."""
    settings = _settings()
    body = _body(nodes, parallelism)
    began = time.process_time()
    for _ in range(ROUNDS):
        _plan(body, settings, sequence_length)
    return (time.process_time() - began) / ROUNDS


def _plan(body: Mapping[str, Any], settings: Settings, sequence_length: int) -> None:
    run = FinetuneRun.from_api(body)
    stage = plan_stage(run, "train", {}, {}, settings)
    assert isinstance(stage, Stage)
    attempt_manifests(ResourceKey("FinetuneRun", run.metadata.namespace, run.metadata.name), UID, stage, 1, settings)
    contract = stage.contract
    assert isinstance(contract, TrainContract)
    check_divisions(contract, QWEN_2_5_7B, sequence_length)
    schedule = plan_schedule(contract, SEQUENCES)
    data = TrainingData(Path("/data/packed"), sequence_length)
    inputs = TrainingInputs(
        Path("/data/base"), QWEN_2_5_7B, data, schedule, SEQUENCES, labelled_tokens=1, end_token=None
    )
    build_configuration(contract, QWEN_2_5_7B, schedule, data, InitialState(), Path("/data/out"), cpus=1)
    try:
        check_memory(contract, inputs)
    except WrongInput as refused:
        if refused.reason != "DeviceMemoryTooSmall":
            raise


def _settings() -> Settings:
    """Give the chart's own settings, as far as they have a part in it."""
    values = yaml.safe_load((ROOT / "helm" / "npu-distill" / "values.yaml").read_text())
    return Settings.model_validate(
        {
            "images": {"runtime": "registry.example/runtime:1"},
            **{name: values[name] for name in ("stagePodSecurityContext", "stages", "profiles")},
        }
    )


def _body(nodes: int, parallelism: Mapping[str, Any]) -> dict[str, Any]:
    """Give a FinetuneRun as the API server does, of which the data set is Ready."""
    body: dict[str, Any] = yaml.safe_load(
        (ROOT / "examples" / "openr1-qwen-7b" / "form-a" / "finetune.yaml").read_text()
    )
    body["metadata"] |= {"namespace": "team-a", "uid": UID, "generation": 1, "resourceVersion": "1"}
    body["spec"]["accelerator"]["nodes"] = nodes
    body["spec"]["parallelism"] = dict(parallelism)
    body["spec"]["training"] |= {"recompute": {"layers": "full"}}
    body["status"] = {
        "observedGeneration": 1,
        "conditions": [],
        "stages": [],
        "input": {"uri": "npu-distill/packed", "digest": f"sha256:{'d' * 64}"},
    }
    return body
