"""The msrun stage where there is nothing left to train."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.runs import leave_trained
from support.student import pack_samples, train_contract, write_student

from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, check_stage, run_stage
from distill_runtime.stages import msrun
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, verify_content
from distill_runtime.storage.volume import Volume
from distill_runtime.training import waiting
from distill_runtime.training.attempt import make_paths
from distill_runtime.training.inputs import open_inputs


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    write_student(tmp_path / "student")
    return StageContext(Volume(tmp_path), Reporter("msrun", "steps"))


def test_killed_after_the_last_step_it_only_exports(context: StageContext, tmp_path: Path) -> None:
    contract = train_contract(pack_samples(context.volume, 60), attempt=2)
    steps = open_inputs(contract, context.volume).schedule.total_steps
    weights = leave_trained(tmp_path, contract, steps)
    result = msrun.run(contract, context)
    assert (result.outcome, result.reason) == ("Succeeded", "Trained")
    assert result.metrics["resumedFromStep"] == steps
    assert result.metrics["loss"] == 2.0
    assert result.artifact is not None
    directory, manifest = open_artifact(context.volume, result.artifact)
    verify_content(directory, manifest)
    exported = load_file(directory / "model.safetensors")
    assert all(np.array_equal(exported[name], array) for name, array in weights.items())
    assert not list(tmp_path.glob("trained.logs/*/worker-*.log"))
    assert not (tmp_path / "trained.work").exists()


def test_without_its_devices_no_node_begins(context: StageContext, tmp_path: Path) -> None:
    contract = train_contract(pack_samples(context.volume, 60), device_target="Ascend", devices_per_node=4)
    for index in (0, 1):
        with pytest.raises(WrongInput, match="devicesPerNode is 4, and the device files /dev/davinci<n>") as refused:
            msrun.run(contract, replace(context, index=index))
        assert refused.value.reason == "DeviceNotReady"
    # The preflight has no devices, and asks for none; of those of unknown memory it says what they need.
    assert list(check_stage(msrun, contract, context).metrics) == ["memoryPerDevice"]
    assert not list(tmp_path.glob("trained*"))


def test_another_node_has_nothing_to_do_then(context: StageContext, tmp_path: Path) -> None:
    contract = train_contract(pack_samples(context.volume, 60))
    leave_trained(tmp_path, contract, open_inputs(contract, context.volume).schedule.total_steps)
    ground = make_paths(contract, context.volume).ground
    ground.take()
    ground.open_to_all(tmp_path / "trained.partial" / "training-log.jsonl")
    second = StageContext(context.volume, Reporter("msrun", "steps"), index=1)
    result = msrun.run(contract, second)
    assert (result.outcome, result.reason, result.artifact) == ("Succeeded", "WorkersDone", None)
    assert (tmp_path / "trained.work").exists()


def test_another_node_does_not_begin_before_the_first(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_OTHER_NODES_SECONDS", 0.3)
    contract = train_contract(pack_samples(context.volume, 60))
    with pytest.raises(Retryable, match="has not begun") as given_up:
        msrun.run(contract, StageContext(context.volume, Reporter("msrun", "steps"), index=1))
    assert given_up.value.reason == "RendezvousFailed"
    assert not (tmp_path / "trained.work").exists()


def test_the_artifact_says_what_it_was_made_of(context: StageContext, tmp_path: Path) -> None:
    dataset = pack_samples(context.volume, 60)
    contract = train_contract(dataset)
    leave_trained(tmp_path, contract, open_inputs(contract, context.volume).schedule.total_steps)
    msrun.run(contract, context)
    manifest = json.loads((tmp_path / "trained" / "manifest.json").read_text())
    assert manifest["inputs"] == [dataset.to_json()]
    assert manifest["parameters"]["training"]["epochs"] == 2


@pytest.mark.parametrize(("lost", "loss"), [(2, "loss 2;"), (None, "loss unknown;")])
def test_steps_that_the_log_lacks_are_counted_and_said(
    context: StageContext, tmp_path: Path, lost: int | None, loss: str
) -> None:
    contract = train_contract(pack_samples(context.volume, 60))
    steps = open_inputs(contract, context.volume).schedule.total_steps
    leave_trained(tmp_path, contract, steps)
    log = tmp_path / "trained.partial" / "training-log.jsonl"
    kept = [] if lost is None else log.read_bytes().splitlines(keepends=True)[lost:]
    log.write_bytes(b"".join(kept))
    result = msrun.run(contract, context)
    missing = steps - len(kept)
    assert (result.counts["steps"], result.counts["unloggedSteps"]) == (steps, missing)
    assert result.message.startswith(f"trained {steps} steps (the training log lacks {missing} of them), {loss}")
    assert result.metrics["steps"] == steps


def test_it_does_not_go_on_from_another_base(context: StageContext, tmp_path: Path) -> None:
    contract = train_contract(pack_samples(context.volume, 60))
    leave_trained(tmp_path, contract, open_inputs(contract, context.volume).schedule.total_steps)
    ArtifactWriter(context.volume, contract, msrun.fingerprints(contract, context))
    configuration = tmp_path / "student" / "config.json"
    original = configuration.read_bytes()
    configuration.write_bytes(original + b"\n")
    for entry in (msrun.check, lambda contract, context: run_stage(msrun, contract, context)):
        with pytest.raises(WrongInput, match="trained was begun: model student was sha256:") as refused:
            entry(contract, context)
        assert refused.value.reason == "InputChanged"
    configuration.write_bytes(original)
    result = run_stage(msrun, contract, context)
    assert (result.reason, [each.name for each in result.inputs]) == ("Trained", ["dataset", "model"])


class TestPreflight:
    def contract(self, context: StageContext, **changes: Any) -> TrainContract:
        return train_contract(pack_samples(context.volume, 60), device_target="Ascend", **changes)

    def test_says_what_memory_a_device_needs_and_has(self, context: StageContext) -> None:
        result = check_stage(msrun, self.contract(context, device_memory=64 * 2**30), context)
        assert (result.reason, result.metrics["deviceMemory"]) == ("InputsValid", 64 * 2**30)
        assert 3 * 2**30 < result.metrics["memoryPerDevice"] < 4 * 2**30  # all but what is reserved of a device is tiny

    def test_refuses_what_no_device_of_that_memory_holds(self, context: StageContext) -> None:
        with pytest.raises(WrongInput) as refused:
            check_stage(msrun, self.contract(context, device_memory=2**20), context)
        assert refused.value.reason == "DeviceMemoryTooSmall"
