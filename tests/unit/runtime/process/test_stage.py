import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill_runtime.contract import (
    EXIT_DONE,
    EXIT_RETRY,
    EXIT_TERMINATED,
    EXIT_WRONG_INPUT,
    FilterContract,
    FilterParameters,
    InputFingerprint,
    Result,
)
from distill_runtime.contract.stages import API_KEY_VARIABLE
from distill_runtime.foundation.errors import Retryable, Terminated, WrongInput
from distill_runtime.process import event_loop, stage
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, conclude
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume

DONE = Result(outcome="Succeeded", reason="Done", message="done")


def raising(error: BaseException):
    def work() -> Result:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "exit_code"),
    [
        (WrongInput("ColumnMissing", "m"), "WrongInput", "ColumnMissing", EXIT_WRONG_INPUT),
        (Retryable("EndpointUnreachable", "m"), "Failed", "EndpointUnreachable", EXIT_RETRY),
        (Terminated(), "Terminated", "Terminated", EXIT_TERMINATED),
        (OSError(errno.ENOSPC, "No space left", "/data/x"), "Failed", "VolumeFull", EXIT_RETRY),
        (PermissionError(errno.EACCES, "denied", "/data/x"), "WrongInput", "PermissionDenied", EXIT_WRONG_INPUT),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/data/" + 300 * "x"), "WrongInput", "NameTooLong", 78),
        (OSError(errno.EIO, "Input/output error"), "Failed", "UnexpectedError", EXIT_RETRY),
        (ZeroDivisionError("by zero"), "Failed", "UnexpectedError", EXIT_RETRY),
    ],
)
def test_every_end_has_a_result_and_an_exit_code(error, outcome: str, reason: str, exit_code: int) -> None:
    result, code = conclude(raising(error))
    assert (result.outcome, result.reason, code) == (outcome, reason, exit_code)


def test_success_is_passed_on() -> None:
    assert conclude(lambda: DONE) == (DONE, EXIT_DONE)


def test_an_interrupt_from_the_keyboard_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        conclude(raising(KeyboardInterrupt()))


def terminate_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_interrupts_a_stage_that_computes() -> None:
    cleaned_up = []

    def work() -> Result:
        try:
            terminate_self()
            while True:
                pass
        finally:
            cleaned_up.append(True)

    _, code = conclude(work)
    assert (code, cleaned_up) == (EXIT_TERMINATED, [True])


def test_sigterm_interrupts_a_stage_that_waits_in_an_event_loop() -> None:
    cleaned_up = []

    async def wait() -> None:
        asyncio.get_running_loop().call_later(0.05, terminate_self)
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(True)

    _, code = conclude(lambda: event_loop.run(wait()))
    assert (code, cleaned_up) == (EXIT_TERMINATED, [True])


def test_sigterm_is_handled_as_before_once_the_stage_is_over() -> None:
    before = signal.getsignal(signal.SIGTERM)
    conclude(lambda: event_loop.run(asyncio.sleep(0, DONE)))
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_in_a_task_group_comes_out_as_itself() -> None:
    async def fail() -> None:
        raise WrongInput("Wrong", "wrong")

    async def work() -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.sleep(60))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(fail())

    with pytest.raises(WrongInput):
        event_loop.run(work())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ("{", "the file: Invalid JSON"),
        ('{"stage":"filter","output":"o","filter":{}}', "filter.input: Field required"),
        ('{"stage":"filter","output":"o","input":"i","filter":{"keep":"some"}}', "filter.filter.keep: Input should be"),
        ('{"stage":"cook"}', "the file: Input tag 'cook'"),
    ],
)
def test_a_contract_that_is_wrong_says_where(tmp_path: Path, text: str | None, problem: str) -> None:
    path = tmp_path / "contract.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(WrongInput, match=problem):
        stage.read_contract(path, "filter")


class OneFile:
    """A stage that writes one file."""

    def __init__(self) -> None:
        self.runs = 0

    def fingerprints(self, contract: FilterContract, context: StageContext) -> tuple[InputFingerprint, ...]:
        return ()

    def run(self, contract: FilterContract, context: StageContext) -> Result:
        self.runs += 1
        writer = ArtifactWriter(context.volume, contract)
        return DONE.model_copy(update={"artifact": writer.finish({"rows": 3}, {"rate": 1.0})})

    def check(self, contract: FilterContract, context: StageContext) -> None:
        pass


def test_a_stage_that_is_complete_is_reported_and_not_run_again(tmp_path: Path) -> None:
    contract = FilterContract(output="kept", input="generated", filter=FilterParameters())
    context = StageContext(Volume(tmp_path), Reporter("filter", "rows"))
    one_file = OneFile()
    first = stage.run_stage(one_file, contract, context)
    second = stage.run_stage(one_file, contract, context)
    assert one_file.runs == 1
    assert second.reason == "AlreadyComplete"
    assert second.artifact == first.artifact
    assert (second.counts, second.metrics) == ({"rows": 3}, {"rate": 1.0})


def test_what_a_stage_left_that_was_killed_after_the_rename_is_removed(tmp_path: Path) -> None:
    contract = FilterContract(output="kept", input="generated", filter=FilterParameters())
    volume, reporter = Volume(tmp_path), Reporter("filter", "rows")
    stage.run_stage(OneFile(), contract, StageContext(volume, reporter))
    (tmp_path / "kept.work" / "checkpoints").mkdir(parents=True)
    stage.run_stage(OneFile(), contract, StageContext(volume, reporter, index=1))
    assert (tmp_path / "kept.work").exists()
    stage.run_stage(OneFile(), contract, StageContext(volume, reporter))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


def test_the_api_key_is_not_shown() -> None:
    assert "secret" not in repr(StageContext(Volume(Path()), Reporter("eval", "problems"), api_key="secret"))


@pytest.mark.parametrize(
    ("value", "key"), [("sk-a", "sk-a"), ("sk-a\n", "sk-a"), (" sk-a\r\n", "sk-a"), ("sk-a b", "sk-a b"), ("\n", None)]
)
def test_the_api_key_is_what_stands_between_white_space(value: str, key: str | None) -> None:
    assert stage.read_api_key({API_KEY_VARIABLE: value}, API_KEY_VARIABLE) == key
    assert stage.read_api_key({}, API_KEY_VARIABLE) is None


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "a\x7fb", "a\x85b", "\ufeffa", "a\u2026", "a\udcff"])
def test_an_api_key_that_no_header_can_carry_is_wrong_input(value: str) -> None:
    with pytest.raises(WrongInput, match=API_KEY_VARIABLE) as refused:
        stage.read_api_key({API_KEY_VARIABLE: value}, API_KEY_VARIABLE)
    assert refused.value.reason == "EndpointMisconfigured"


def test_sigterm_while_it_is_being_imported_ends_it_in_order(tmp_path: Path) -> None:
    contract = tmp_path / "contract.json"
    os.mkfifo(contract)  # should the imports be over by then, it waits here
    command = [sys.executable, "-m", "distill_runtime", "filter", "--contract", str(contract)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4] / "job_runtime")}
    with subprocess.Popen(command, env=environment) as process:
        while "pydantic_core" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.005)
        process.terminate()
        assert process.wait(30) == EXIT_TERMINATED
