"""Event files are what TensorBoard reads: records with checksums, of which tensorboardX has the messages."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog

from distill_runtime.training.tensorboard import EventFile
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord

WORK = StepWork(tokens=1000, flops=1e12, peak_flops=4e12)


def record(step: int) -> StepRecord:
    return StepRecord(step=step, epoch=1, loss=2.5, learning_rate=1e-4, seconds=0.5)


def events(directory: Path) -> list[Event]:
    """Read the only file: a record is a length, its checksum, the content, and its checksum."""
    (path,) = directory.iterdir()
    assert path.name.startswith("events.out.tfevents.")  # by which TensorBoard finds it
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_an_attempt_says_from_which_step_on_it_counts(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "tensorboard", WORK, resumed=6)
    for step in (6, 7):
        file.add(record(step))
    file.close()
    version, start, figures = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (7, SessionLog.START)
    assert figures.step == 7
    assert {value.tag: round(value.simple_value, 6) for value in figures.summary.value} == {
        "training/loss": 2.5,
        "training/learning_rate": 1e-4,
        "training/tokens_per_second": 2000.0,
        "training/model_flops_utilization": 0.5,
    }


def test_what_was_written_can_be_read_while_it_trains(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "tensorboard", WORK, resumed=0)
    file.add(record(1))
    file.refresh()
    assert [event.step for event in events(tmp_path / "tensorboard")] == [0, 1, 1]
    file.close()


def test_where_it_cannot_write_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    file = EventFile(tmp_path / "tensorboard", WORK, resumed=0)
    file.add(record(1))
    file.refresh()
    file.close()
