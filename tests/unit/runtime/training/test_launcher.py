"""Workers that fail, without MindSpore: the stage and its processes are real, only what they run is not training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.student import pack_samples, train_contract, write_student

from distill_runtime.contract import EXIT_TERMINATED, Result, TrainContract
from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, conclude
from distill_runtime.stages import msrun
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume
from distill_runtime.training import graceful_stop, launcher, stall
from distill_runtime.training.stall import ALLOWANCES, Allowances

BEGINNING = """
import faulthandler, json, os, signal, sys, time
from pathlib import Path
from distill_runtime.process.child_process import end_with_parent
from distill_runtime.training.assignment import STACKS_SIGNAL
end_with_parent()
faulthandler.register(STACKS_SIGNAL)
orders = json.loads(Path(sys.argv[1]).read_text())
def do_step(number):
    with open(orders["trainingLog"], "a") as log:
        log.write('{"step":%d,"epoch":1,"loss":2.0,"learningRate":0.1,"seconds":1.5}\\n' % number)
"""

Train = Callable[..., StageError]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Run an attempt whose workers run `code`, and give how it failed."""
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setattr(launcher, "_WORKER", "stand_in_worker")
    volume = Volume(tmp_path)
    write_student(tmp_path / "student")
    dataset = pack_samples(volume, 60)

    def attempt(code: str, number: int = 1, **changes: object) -> StageError:
        (modules / "stand_in_worker.py").write_text(BEGINNING + code)
        contract: TrainContract = train_contract(dataset, attempt=number, **changes)
        context = StageContext(volume, Reporter("msrun", "steps"))
        # A run that has begun: MindFormers has looked at its configuration.
        ArtifactWriter(volume, contract, msrun.fingerprints(contract, context))
        with pytest.raises(StageError) as failed:
            msrun.run(contract, context)
        return failed.value

    return attempt


def attempts(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / "trained.partial" / "attempts.jsonl").read_text().splitlines()]


def test_a_configuration_that_mindformers_refuses_ends_the_run(train: Train) -> None:
    error = train("raise TypeError('expert_paralel')")
    assert isinstance(error, WrongInput)
    assert (error.reason, error.failure_class) == ("WrongConfiguration", "workload")
    assert "worker-0 ended with exit code 1; it said: TypeError: expert_paralel; a key or value of mindformers" in (
        error.message
    )


def test_but_not_one_that_has_worked(train: Train) -> None:
    assert isinstance(train("do_step(1); raise TypeError('out of the blue')"), Retryable)


def test_what_fails_twice_before_a_first_step_is_not_tried_a_third_time(train: Train, tmp_path: Path) -> None:
    first = train("raise RuntimeError('kernel 7')", 1)
    assert isinstance(first, Retryable)
    assert first.reason == "WorkerFailed"
    assert isinstance(train("raise RuntimeError('link')", 2), Retryable)
    third = train("raise RuntimeError('link')", 3)
    assert isinstance(third, WrongInput)
    assert third.reason == "RepeatedFailure"
    assert [(record["attempt"], record.get("essence")) for record in attempts(tmp_path)] == [
        (1, "RuntimeError: kernel #"),
        (2, "RuntimeError: link"),
        (3, None),
    ]


def test_what_fails_twice_after_a_step_is_tried_again(train: Train, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        assert isinstance(train("do_step(1); do_step(2); raise RuntimeError('link')", number), Retryable)
    first = attempts(tmp_path)[0]
    assert (first["resumedFromStep"], first["toStep"], first["lostSteps"]) == (0, 2, 2)
    assert (first["trainingSeconds"], first["lostSeconds"]) == (3.0, 3.0)


def test_a_worker_that_is_killed_is_not_a_failure_that_repeats(train: Train) -> None:
    for number in (1, 2):
        error = train("os.kill(os.getpid(), signal.SIGKILL)", number)
        assert isinstance(error, Retryable)
        assert error.failure_class == "infrastructure"


def test_the_rank_that_failed_is_told_of_several(train: Train) -> None:
    code = """
if os.environ["RANK_ID"] == "1":
    print("EI0011: Failed to allocate [7] bytes of NPU memory.")
    sys.exit(1)
time.sleep(60)
"""
    error = train(code, devices_per_node=2)
    assert error.reason == "DeviceOutOfMemory"
    assert "worker-1 ended with exit code 1; it said: EI0011: Failed to allocate [7] bytes" in error.message


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let silence be too long at once when a step is done, and not before."""
    monkeypatch.setitem(ALLOWANCES, "CPU", Allowances(first=600, checkpoint=0, least=0, factor=0))


HANG = """
def wait_for_a_rank_that_hangs():
    time.sleep(600)
do_step(1)
wait_for_a_rank_that_hangs()
"""


@pytest.mark.usefixtures("impatient")
def test_workers_that_hang_write_their_stacks_and_are_ended(train: Train, tmp_path: Path) -> None:
    error = train(HANG)
    assert isinstance(error, Retryable)
    assert (error.reason, error.failure_class) == ("TrainingStalled", "unknown")
    assert "after step 1" in error.message
    [log] = tmp_path.glob("trained.logs/attempt-1-*/worker-0.log")
    assert "in wait_for_a_rank_that_hangs" in log.read_text()
    assert str(log.parent) in error.message
    train("raise RuntimeError('x')", 2)
    assert attempts(tmp_path)[0]["reason"] == "TrainingStalled"


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_is_stopped_writes_nothing_and_is_ended_all_the_same(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_STACKS_SECONDS", 100_000)
    assert train("do_step(1); os.kill(os.getpid(), signal.SIGSTOP)").reason == "TrainingStalled"


STEPS_TOGETHER = """
from distill_runtime.training.stopping import Stopping
stopping, here = Stopping(Path(orders["stopping"])), Path(orders["failures"])
rank, workers = int(os.environ.get("RANK_ID", "0")), orders["workers"]
for step in range(1, 10_000):
    (here / f"arrived-{step}-{rank}").touch()
    while len(list(here.glob(f"arrived-{step}-*"))) < workers:
        time.sleep(0.001)
    if rank == orders["reportingRank"]:
        do_step(step)
        if step == 2:
            os.kill(os.getppid(), signal.SIGTERM)
        stopping.answer(step if workers == 1 else step + 1)
    if step >= (stopping.after() or 10_000):
        (here / f"saved-{step}").open("a").write(f"{rank} ")
        break
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_all_workers_save_the_same_step(train: Train, tmp_path: Path, workers: int) -> None:
    def run() -> Result:
        raise train(STEPS_TOGETHER, devices_per_node=workers)

    result, code = conclude(run)
    assert (result.outcome, code) == ("Terminated", EXIT_TERMINATED)
    [saved] = tmp_path.glob("trained.logs/attempt-1-*/saved-*")
    assert sorted(saved.read_text().split()) == [str(rank) for rank in range(workers)]
    steps = (tmp_path / "trained.partial" / "training-log.jsonl").read_text().splitlines()
    assert saved.name == f"saved-{len(steps)}"


def test_told_to_stop_before_the_first_step_it_waits_for_nothing(train: Train) -> None:
    def run() -> Result:
        raise train("os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)", grace_seconds=100_000)

    assert conclude(run)[1] == EXIT_TERMINATED


TOLD_TO_STOP = "do_step(1); do_step(2); os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"


def test_told_to_stop_it_does_not_wait_for_a_step_that_never_comes(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another Pod of the attempt has failed, and the workers of this one wait for its."""
    monkeypatch.setattr(stall, "_DOUBT_SECONDS", 0.5)
    monkeypatch.setitem(ALLOWANCES, "CPU", Allowances(first=600, least=0.1))

    def run() -> Result:
        raise train(TOLD_TO_STOP, grace_seconds=100_000)

    assert conclude(run)[1] == EXIT_TERMINATED


@pytest.mark.usefixtures("impatient")
def test_told_to_stop_it_does_not_wait_for_workers_that_hang(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "_DOUBT_SECONDS", 100_000)

    def run() -> Result:
        raise train(TOLD_TO_STOP, grace_seconds=100_000)

    assert conclude(run)[1] == EXIT_TERMINATED


def test_told_to_stop_since_another_node_has_failed_it_waits_for_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("do_step(1); raise RuntimeError('link')", 1)
    [left] = tmp_path.glob("trained.work/attempt-1*/stopping/given-up")
    monkeypatch.setattr(stall, "_DOUBT_SECONDS", 100_000)

    def run() -> Result:
        said = f"Path(orders['stopping'], 'given-up').write_text({left.read_text()!r}); "
        raise train(said + TOLD_TO_STOP, 2, grace_seconds=100_000)

    assert conclude(run)[1] == EXIT_TERMINATED


def test_one_that_does_not_stop_in_its_grace_period_is_ended(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graceful_stop, "_LAST_SECONDS", 0.8)

    def run() -> Result:
        code = "do_step(1)\nwhile True:\n    time.sleep(0.5)\n    os.kill(os.getppid(), signal.SIGTERM)"
        raise train(code, grace_seconds=1)

    assert conclude(run)[1] == EXIT_TERMINATED


def test_a_node_whose_workers_stop_for_another_s_sake_has_not_failed(train: Train) -> None:
    def run() -> Result:
        raise train("Path(orders['stopping'], 'stop-after-step').write_text('000000000001'); do_step(1)")

    assert conclude(run)[1] == EXIT_TERMINATED
