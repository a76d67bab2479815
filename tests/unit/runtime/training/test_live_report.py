"""The page that is written while a run trains."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.student import pack_samples, train_contract, write_student

from distill_runtime.contract import Checkpoint
from distill_runtime.process.progress import Reporter
from distill_runtime.storage.volume import Volume
from distill_runtime.training import live_report
from distill_runtime.training.attempt import make_paths
from distill_runtime.training.attempt_log import FINAL_REASON, AttemptRecord
from distill_runtime.training.checkpoints import checkpoint_file
from distill_runtime.training.inputs import open_inputs
from distill_runtime.training.live_report import REPORT_NAME, History, LiveReport, Run, describe
from distill_runtime.training.saving import SavedCheckpoints
from distill_runtime.training.stall import ALLOWANCES, StallWatch
from distill_runtime.training.step_progress import StepProgress
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord, TrainingLogFollower, TrainingLogWriter

NOW = datetime(2026, 11, 27, 14, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    volume = Volume(tmp_path)
    write_student(tmp_path / "student")
    contract = train_contract(
        pack_samples(volume, 60),
        mindformers={"optimizer": {"weight_decay": 0.1}},
        peak_teraflops=1.0,
        checkpoint=Checkpoint(every_steps=2),
    )
    paths = make_paths(contract, volume)
    paths.partial.mkdir()
    paths.attempts.write_text('{"attempt":1,"resumedFromStep":0}\n')
    work = StepWork(tokens=400, flops=2e11, peak_flops=1e12)
    return Run(contract, open_inputs(contract, volume), work, paths)


def record(step: int, *, norm: float | None = 1.5) -> StepRecord:
    return StepRecord(step=step, epoch=1, loss=2.5, learning_rate=1e-4, gradient_norm=norm, seconds=0.5)


def history(*records: StepRecord) -> History:
    found = History()
    for each in records:
        found.add(each)
    return found


ATTEMPTS = [
    AttemptRecord(attempt=1, resumed_from_step=0, to_step=3, reason="NoLastWord", failure_class="unknown"),
    AttemptRecord(attempt=2, resumed_from_step=2, to_step=2, reason="Terminated", failure_class="infrastructure"),
    AttemptRecord(attempt=3, resumed_from_step=2),
]


def test_says_where_a_run_stands(run: Run) -> None:
    report = describe(run, history(record(1), record(2), record(3)), ATTEMPTS, "", NOW)
    total = run.inputs.schedule.total_steps
    assert report.state == f"Step 3 of {total}, in epoch 1 of 2. Attempt 3 was running at 2026-11-27 14:00 UTC."
    assert report.figures == {
        "steps": "3",
        "loss": "2.5",
        "learning rate": "0.0001",
        "gradient norm": "1.5",
        "tokens a second": "800",
        "MFU": "40.0 %",
        "time left": f"{(total - 3) * 0.5:.0f} s",
    }
    assert [each.ending for each in report.attempts] == ["other", "infrastructure", "running"]
    assert [chart.marks for chart in report.charts] == [[3, 3]] * 4
    assert [len(chart.points) for chart in report.charts] == [3] * 4


def test_says_that_a_run_is_trained(run: Run) -> None:
    total = run.inputs.schedule.total_steps
    ended = [ATTEMPTS[2].model_copy(update={"reason": FINAL_REASON, "ended_at": NOW})]
    report = describe(run, history(record(total)), ended, "", NOW)
    assert report.state == f"Trained: {total} steps, 2 epochs."
    assert "time left" not in report.figures
    assert [each.ending for each in report.attempts] == ["done"]


def test_before_the_first_step_it_has_the_configuration(run: Run) -> None:
    report = describe(run, history(), ATTEMPTS[2:], "seed: 42", NOW)
    assert report.state.startswith("No step is done yet. Attempt 3 was running")
    settings = report.settings["Configuration"]
    assert settings["training.epochs"] == "2"
    assert settings["mindformers.optimizer.weight_decay"] == "0.1"
    assert settings["tokens of a step, without padding"] == "400"
    assert {"npu-distill", "mindspore", "mindformers", "python"} == set(report.settings["Versions"])
    assert report.render()


def test_is_written_at_most_once_a_minute(run: Run) -> None:
    live = LiveReport(run)
    page = run.paths.partial / REPORT_NAME
    live.refresh()
    assert "No step is done yet" in page.read_text()
    live.add(record(1))
    live.refresh()
    assert "No step is done yet" in page.read_text()
    live.close()
    assert "Step 1 of" in page.read_text()


def test_where_it_cannot_be_written_training_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_report, "write_durably", full)
    LiveReport(run).close()


def test_progress_has_what_a_status_shows(run: Run) -> None:
    """Of an attempt that goes on from step 2; the first step after it compiles, and does not count as speed."""
    log = TrainingLogWriter(run.paths.training_log)
    for step in range(1, 6):
        log.write(record(step, norm=float("inf") if step == 5 else 1.5))
    for step in (2, 4):
        file = checkpoint_file(run.paths.checkpoints, step, 1, 0, 1)
        file.parent.mkdir(parents=True)
        file.touch()
    live, reporter = LiveReport(run), Reporter("msrun", "steps")
    progress = StepProgress(
        reporter,
        TrainingLogFollower(run.paths.training_log),
        work=run.work,
        total_steps=10,
        resumed=2,
        remark="",
        watch=StallWatch(began=0, saved_every=2, last_step=10, allowances=ALLOWANCES["CPU"]),
        saved=SavedCheckpoints(run.paths.checkpoints, 1, 2, 2),
        views=(live,),
    )
    progress.update()
    said = reporter.snapshot()
    assert (said.done, said.counts) == (5, {"epoch": 1, "overflowSteps": 0, "lastCheckpointStep": 4})
    saved = said.metrics.pop("lastCheckpointTime")
    assert saved == int(file.stat().st_mtime)
    assert said.metrics == {
        "loss": 2.5,
        "learningRate": 1e-4,
        "tokensPerSecond": 800.0,
        "modelFlopsUtilization": 0.4,
    }
    assert json.loads(said.model_dump_json())  # all of it is JSON
    assert "Step 5 of" in (run.paths.partial / REPORT_NAME).read_text()
