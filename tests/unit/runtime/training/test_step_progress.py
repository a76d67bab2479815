"""What is said of training while it goes on."""

from pathlib import Path

from distill_runtime.process.progress import Reporter
from distill_runtime.training.saving import SavedCheckpoints
from distill_runtime.training.stall import ALLOWANCES, StallWatch
from distill_runtime.training.step_progress import StepProgress
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord, TrainingLogFollower, TrainingLogWriter


def progress(log: Path, remark: str) -> tuple[StepProgress, Reporter]:
    reporter = Reporter("msrun", "steps")
    watch = StallWatch(began=0, saved_every=5, last_step=20, allowances=ALLOWANCES["CPU"])
    follower = TrainingLogFollower(log)
    following = StepProgress(
        reporter,
        follower,
        work=StepWork(tokens=64, flops=1e9, peak_flops=None),
        total_steps=20,
        resumed=5,
        remark=remark,
        watch=watch,
        saved=SavedCheckpoints(log.parent, workers=1, every_steps=5, resumed=5),
        views=(),
    )
    return following, reporter


def test_a_checkpoint_that_was_passed_over_is_said_as_long_as_the_attempt_goes_on(tmp_path: Path) -> None:
    remark = "training goes on from the checkpoint of step 5, since that of step 10 is damaged: it is short"
    following, reporter = progress(tmp_path / "log.jsonl", remark)
    following.begin()
    said = reporter.snapshot()
    assert (said.done, said.total, said.message) == (5, 20, f"loading and compiling; {remark}")
    writer = TrainingLogWriter(tmp_path / "log.jsonl")
    writer.write(StepRecord(step=6, epoch=1, loss=2.0, learning_rate=1e-3, seconds=1.0))
    following.update()
    assert reporter.snapshot().message == f"epoch 1; {remark}"


def test_where_there_is_nothing_to_say_it_says_nothing(tmp_path: Path) -> None:
    following, reporter = progress(tmp_path / "log.jsonl", "")
    following.begin()
    assert reporter.snapshot().message == "loading and compiling"
