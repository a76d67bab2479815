"""The export stage: what msrun has trained becomes a model, without devices and by the same contract."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.runs import leave_trained, save_step
from support.student import pack_samples, train_contract, write_student, write_weights

from distill_runtime.contract import Checkpoint, TrainContract
from distill_runtime.foundation.errors import Retryable
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, read_contract, run_stage
from distill_runtime.stages import export, msrun
from distill_runtime.storage.artifact import open_artifact, verify_content
from distill_runtime.storage.volume import Volume
from distill_runtime.training.checkpoints import Checkpoint as CompleteCheckpoint
from distill_runtime.training.export_progress import expected_bytes
from distill_runtime.training.inputs import open_inputs
from distill_runtime.training.weight_names import to_mindformers


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    write_student(tmp_path / "student")
    return StageContext(Volume(tmp_path), Reporter("export", "MB"))


def contract_of(context: StageContext, **changes: Any) -> TrainContract:
    return train_contract(pack_samples(context.volume, 60), export_by="export", **changes)


def leave_all_steps(contract: TrainContract, context: StageContext) -> tuple[int, dict[str, np.ndarray]]:
    steps = open_inputs(contract, context.volume).schedule.total_steps
    return steps, leave_trained(context.volume.root, contract, steps)


def test_it_makes_the_model_of_what_msrun_has_trained(context: StageContext, tmp_path: Path) -> None:
    contract = contract_of(context, attempt=2)
    steps, weights = leave_all_steps(contract, context)
    trained = run_stage(msrun, contract, context)
    assert (trained.reason, trained.artifact, trained.counts["steps"]) == ("Trained", None, steps)
    assert trained.message.endswith(f"its checkpoint of step {steps} is to be exported")
    attempts = (tmp_path / "trained.partial" / "attempts.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in attempts] == ["NoLastWord", "Trained"]
    exported = run_stage(export, contract.model_copy(update={"attempt": 1}), context)
    assert exported.artifact is not None
    assert (exported.counts, exported.metrics) == (trained.counts | {"exportedStep": steps}, trained.metrics)
    directory, manifest = open_artifact(context.volume, exported.artifact)
    verify_content(directory, manifest)
    arrays = load_file(directory / "model.safetensors")
    assert all(np.array_equal(arrays[name], array) for name, array in weights.items())
    assert (directory / "attempts.jsonl").read_text().splitlines() == attempts
    assert not (tmp_path / "trained.work").exists()


def test_what_is_exported_already_is_not_made_again(context: StageContext) -> None:
    """As of a run that an earlier version has trained, which exported by itself, or after the status was lost."""
    contract = contract_of(context)
    leave_all_steps(contract, context)
    artifact = run_stage(msrun, contract.model_copy(update={"export_by": "msrun"}), context).artifact
    for stage in (msrun, export):
        again = run_stage(stage, contract, context)
        assert (again.reason, again.artifact) == ("AlreadyComplete", artifact)


def test_the_best_is_exported_where_it_is_asked_for(context: StageContext, tmp_path: Path) -> None:
    contract = contract_of(context, checkpoint=Checkpoint(every_steps=2, keep=1, export="best"))
    steps, weights = leave_all_steps(contract, context)
    save_step(tmp_path, steps - 2, {name: array + 1 for name, array in weights.items()})
    log = tmp_path / "trained.partial" / "training-log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    for record in records[-2:]:
        record["loss"] += 1  # it has become worse since
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    exported = run_stage(export, contract, context)
    assert exported.counts["exportedStep"] == steps - 2
    assert f"; the model of the best step, {steps - 2}, is in trained" in exported.message
    arrays = load_file(tmp_path / "trained" / "model.safetensors")
    assert all(np.array_equal(arrays[name], array + 1) for name, array in weights.items())


def test_before_the_last_step_it_does_nothing(context: StageContext, tmp_path: Path) -> None:
    contract = contract_of(context)
    steps = open_inputs(contract, context.volume).schedule.total_steps
    leave_trained(tmp_path, contract, steps - 1)
    with pytest.raises(Retryable, match=rf"of step {steps} in .*, the latest is of step {steps - 1};") as refused:
        run_stage(export, contract, context)
    assert refused.value.reason == "CheckpointMissing"
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize(("device_target", "copies"), [("CPU", 1), ("Ascend", 2)])
def test_the_parts_of_workers_are_written_whole_before_the_model_is(
    context: StageContext, tmp_path: Path, device_target: str, copies: int
) -> None:
    contract = contract_of(context, device_target=device_target, devices_per_node=2)
    weights = write_weights(write_student(tmp_path / "parts"))
    part = tmp_path / "part.safetensors"
    save_file({to_mindformers(name): array for name, array in weights.items()}, part)
    checkpoint = CompleteCheckpoint(step=5, directory=tmp_path, files=(part, part))
    size = sum(array.nbytes for array in weights.values())
    assert expected_bytes(contract, open_inputs(contract, context.volume), checkpoint) == copies * size


def test_it_reads_the_contract_of_msrun(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    write_student(tmp_path / "student")
    contract = train_contract(pack_samples(Volume(tmp_path), 60))
    path.write_text(contract.model_dump_json(by_alias=True))
    assert read_contract(path, "export") == read_contract(path, "msrun") == contract
