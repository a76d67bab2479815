"""What is known of an attempt afterwards, whoever was killed."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.training.attempt_log import (
    AttemptRecord,
    NodeNote,
    NoteWriter,
    begin_attempt,
    end_run,
    noted,
    read_attempts,
)
from distill_runtime.training.causes import Cause
from distill_runtime.training.training_log import StepRecord

CAUSE = Cause("WorkerFailed", "worker-1 ended", "unknown", "RuntimeError: x")


def steps(*numbers: int, seconds: float = 2.0) -> list[StepRecord]:
    return [StepRecord(step=number, epoch=1, loss=1.0, learning_rate=0.1, seconds=seconds) for number in numbers]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "run.logs"
    directory.mkdir()
    return directory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempts.jsonl"


def begun(attempt: int, resumed: int, passed_over: str | None = None) -> AttemptRecord:
    return AttemptRecord(attempt=attempt, resumed_from_step=resumed, passed_over=passed_over)


def node(logs: Path, attempt: int, host: str) -> Path:
    directory = logs / f"attempt-{attempt}-{host}"
    directory.mkdir()
    return directory


def write_note(logs: Path, host: str, second: int | None, reason: str | None, **fields: str) -> None:
    began = datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC)
    ended = None if second is None else began.replace(second=second)
    note = NodeNote(node=host, began_at=began, ended_at=ended, reason=reason, **fields)  # type: ignore[arg-type]
    (node(logs, 1, host) / "node.json").write_text(note.model_dump_json(by_alias=True))


def test_an_attempt_that_failed_is_told_by_the_next(logs: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_NODE", "node-7")
    begin_attempt(path, logs, begun(1, 0), [], [])
    with noted(node(logs, 1, "pod-0")) as note:
        note.failed(CAUSE)  # the first word counts
    first, second = begin_attempt(path, logs, begun(2, 4), steps(1, 2, 3, 4), steps(5, 6, seconds=3))
    assert (first.resumed_from_step, first.to_step, first.lost_steps, first.stepless) == (0, 6, 2, False)
    assert (first.training_seconds, first.lost_seconds) == (14.0, 6.0)
    assert (first.nodes, first.reason, first.failure_class) == (("node-7",), "WorkerFailed", "unknown")
    assert (first.message, first.essence) == ("worker-1 ended", "RuntimeError: x")
    assert second.resumed_from_step == 4
    assert read_attempts(path) == [first, second]


@pytest.mark.parametrize(
    ("error", "reason", "failure_class"),
    [
        (WrongInput("LossNotFinite", "nan", "workload"), "LossNotFinite", "workload"),
        (Terminated(), "Terminated", "infrastructure"),
        (KeyError("a"), "UnexpectedError", "unknown"),
    ],
)
def test_whatever_ends_it_is_noted(
    logs: Path, path: Path, error: BaseException, reason: str, failure_class: str
) -> None:
    begin_attempt(path, logs, begun(1, 0), [], [])
    with pytest.raises(type(error)), noted(node(logs, 1, "pod-0")):
        raise error
    first, _ = begin_attempt(path, logs, begun(2, 0), [], [])
    assert (first.reason, first.failure_class, first.stepless) == (reason, failure_class, True)


def test_of_several_nodes_the_first_that_failed_by_itself_is_the_cause(logs: Path, path: Path) -> None:
    begin_attempt(path, logs, begun(1, 0), [], [])
    write_note(logs, "a", 9, "WorkerFailed", message="a was let down")
    write_note(logs, "b", 7, "VolumeFull", message="no space")
    write_note(logs, "c", 5, "Terminated", message="told to stop")
    write_note(logs, "d", 6, None)
    first, _ = begin_attempt(path, logs, begun(2, 0), [], [])
    assert (first.reason, first.nodes) == ("VolumeFull", ("a", "b", "c", "d"))
    assert first.ended_at == datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)


def test_one_that_was_killed_lived_until_its_last_sign(logs: Path, path: Path) -> None:
    begin_attempt(path, logs, begun(1, 0), [], [])
    write_note(logs, "a", None, None)
    at = datetime(2030, 1, 2, 4, tzinfo=UTC)
    log = logs / "attempt-1-a" / "worker-0.log"
    log.touch()
    os.utime(log, (at.timestamp(), at.timestamp()))
    (node(logs, 1, "b") / "node.json").write_text("torn")
    first, _ = begin_attempt(path, logs, begun(2, 0), [], [])
    assert (first.reason, first.failure_class, first.nodes) == ("NoLastWord", "unknown", ("a",))
    assert first.ended_at == at


def test_the_last_attempt_is_told_by_itself(logs: Path, path: Path) -> None:
    begin_attempt(path, logs, begun(1, 0), [], [])
    NoteWriter(node(logs, 1, "pod-0")).failed(CAUSE)
    _, second = begin_attempt(path, logs, begun(2, 4), steps(1, 2, 3, 4), [])
    records = end_run(path, second, steps(1, 2, 3, 4, 5, 6))
    assert records == read_attempts(path)
    assert [record.reason for record in records] == ["WorkerFailed", "Trained"]
    assert (records[1].to_step, records[1].training_seconds, records[1].lost_steps) == (6, 4.0, 0)
    again = begin_attempt(
        path, logs, begun(3, 6), steps(1, 2, 3, 4, 5, 6), []
    )  # killed before the artifact was complete
    assert again[:2] == records


def test_lines_of_an_earlier_version_are_read(logs: Path, path: Path) -> None:
    path.write_text(
        '{"attempt":1,"resumedFromStep":0,"lostSteps":0}\n{"attempt":2,"resumedFromStep":4,"lostSteps":3}\n'
    )
    records = begin_attempt(path, logs, begun(3, 8), steps(*range(1, 9)), steps(9))
    assert [record.lost_steps for record in records] == [0, 4, 0]
    assert (records[1].to_step, records[1].reason, records[1].seconds) == (9, "NoLastWord", 0)
    assert json.loads(path.read_text().splitlines()[0]) == {
        "attempt": 1,
        "resumedFromStep": 0,
        "lostSteps": 0,
        "nodes": [],
        "lostSeconds": 0.0,
    }
    assert isinstance(records[2], AttemptRecord)


def test_a_full_volume_does_not_hide_why_it_ended(logs: Path) -> None:
    directory = node(logs, 1, "pod-0")
    note = NoteWriter(directory)
    (directory / "node.json").unlink()
    directory.rmdir()
    note.failed(CAUSE)  # raises nothing


def test_a_checkpoint_that_was_passed_over_is_remembered_and_what_a_later_version_adds_left_out(
    logs: Path, path: Path
) -> None:
    begin_attempt(path, logs, begun(1, 0), [], [])
    (line,) = path.read_text().splitlines()
    assert "passedOver" not in line
    path.write_text(line.replace("{", '{"addedLater":true,', 1) + "\n")
    _, second = begin_attempt(path, logs, begun(2, 5, "that of step 10 is damaged"), [], [])
    assert [record.passed_over for record in read_attempts(path)] == [None, second.passed_over]
    assert second.passed_over == "that of step 10 is damaged"
