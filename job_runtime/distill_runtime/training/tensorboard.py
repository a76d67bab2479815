"""The figures of each step as event files of TensorBoard.

Written by the stage, with the tensorboardX that MindFormers depends on, and not by MindFormers: a new attempt has to
tell TensorBoard which steps it does again, and MindFormers counts padding and knows no peak. The writer is the plain
one. tensorboardX's SummaryWriter has a thread write, which a full volume ends, and whoever adds to its queue then waits
for ever.
"""

import logging
import time
from pathlib import Path
from typing import Any, Final

from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord

logger = logging.getLogger(__name__)

_NAMES: Final = {"tokensPerSecond": "tokens_per_second", "modelFlopsUtilization": "model_flops_utilization"}


class EventFile:
    """A view of the steps that an attempt does, in a file of its own.

    Steps that an earlier attempt did and lost are in its file for good; the new one says from which step on they do not
    count, and TensorBoard leaves them out. A volume that takes no more ends the file, not the training.

    Args:
        directory: to write into; TensorBoard's --logdir.
        work: what a step is.
        resumed: steps that are done already.
    """

    def __init__(self, directory: Path, work: StepWork, resumed: int) -> None:
        self._work = work
        self._resumed = resumed
        self._writer: Any = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = _open(directory, resumed)
        except OSError as error:
            self._give_up(error)

    def add(self, record: StepRecord) -> None:
        """Write a step."""
        if record.step <= self._resumed or self._writer is None:
            return
        figures = {
            "loss": record.loss,
            "learning_rate": record.learning_rate,
            "gradient_norm": record.gradient_norm,
            **{_NAMES[name]: value for name, value in self._work.speed(record.seconds).items()},
        }
        try:
            self._writer.write_event(_event(record.step, figures))
        except OSError as error:
            self._give_up(error)

    def refresh(self) -> None:
        """Hand what was written to the operating system."""
        if self._writer is None:
            return
        try:
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning("no more event files of TensorBoard are written: %s", error)
        self._writer = None


def _open(directory: Path, resumed: int) -> Any:
    """Open a file that says from which step on it counts."""
    # Imported only where they are asked for.
    from tensorboardX.event_file_writer import EventsWriter  # noqa: PLC0415
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: PLC0415

    writer = EventsWriter(str(directory / "events"))
    start = SessionLog(status=SessionLog.START)
    writer.write_event(Event(wall_time=time.time(), step=resumed + 1, session_log=start))
    return writer


def _event(step: int, figures: dict[str, float | None]) -> Any:
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboardX.proto.summary_pb2 import Summary  # noqa: PLC0415

    values = [
        Summary.Value(tag=f"training/{name}", simple_value=value)
        for name, value in figures.items()
        if value is not None
    ]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=values))
