"""training-report.html: how a run does, for people, while it trains and beside the weights afterwards.

Written anew at most once a minute, whole or not at all, from the steps as they come: what is kept of them is of bounded
size, and the log is not read again. A report that cannot be written ends no training.
"""

import importlib.metadata
import json
import logging
import platform
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from distill_runtime.contract import TrainContract
from distill_runtime.reporting.curve import Curve, Point
from distill_runtime.reporting.line_chart import LineChart, number
from distill_runtime.reporting.timeline import Attempt, Ending, duration, moment
from distill_runtime.reporting.training import TrainingReport
from distill_runtime.storage.artifact import own_version, write_durably
from distill_runtime.training.attempt import CONFIGURATION_NAME, RunPaths
from distill_runtime.training.attempt_log import FINAL_REASON, AttemptRecord, read_attempts
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.throughput import StepWork
from distill_runtime.training.training_log import StepRecord
from distill_runtime.training.versions import TESTED

logger = logging.getLogger(__name__)

REPORT_NAME: Final = "training-report.html"
_INTERVAL_SECONDS: Final = 60
_RECENT_STEPS: Final = 20
_MOST_MARKS: Final = 100
_LONGEST_VALUE: Final = 2000


@dataclass(frozen=True)
class Run:
    """What a report is on.

    Attributes:
        contract: what was asked for.
        inputs: what it is trained from.
        work: what a step is.
        paths: where the run keeps things.
    """

    contract: TrainContract
    inputs: TrainingInputs
    work: StepWork
    paths: RunPaths


class History:
    """The steps of a run, as much of them as a page shows."""

    def __init__(self) -> None:
        self.loss = Curve()
        self.gradient_norm = Curve()
        self.learning_rate = Curve()
        self.seconds = Curve()
        self.recent_seconds: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.last: StepRecord | None = None

    def add(self, record: StepRecord) -> None:
        """Take a step."""
        self.last = record
        self.loss.add(record.step, record.loss)
        self.gradient_norm.add(record.step, record.gradient_norm)
        self.learning_rate.add(record.step, record.learning_rate)
        self.seconds.add(record.step, record.seconds or None)
        self.recent_seconds.append(record.seconds)


class LiveReport:
    """Keeps the page in the run's directory up to date: a view of the steps."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._history = History()
        self._due = time.monotonic()

    def add(self, record: StepRecord) -> None:
        """Take a step."""
        self._history.add(record)

    def refresh(self) -> None:
        """Write the page, unless it was written within the last minute."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _INTERVAL_SECONDS
        write_report(self._run, self._history)

    def close(self) -> None:
        """Write the page with all steps that were taken."""
        write_report(self._run, self._history)


def write_final_report(run: Run, records: Iterable[StepRecord]) -> None:
    """Write the page of a run that is trained, from the whole log."""
    history = History()
    for record in records:
        history.add(record)
    write_report(run, history)


def write_report(run: Run, history: History) -> None:
    """Write the page; what is in the way is said in the log and is no failure of the run."""
    try:
        attempts = read_attempts(run.paths.attempts)
        configuration = _read(run.paths.partial / CONFIGURATION_NAME)
        page = describe(run, history, attempts, configuration, datetime.now(UTC)).render()
        write_durably(run.paths.partial / REPORT_NAME, page.encode())
    except OSError as error:
        logger.warning("%s is not written: %s", REPORT_NAME, error)


def describe(
    run: Run, history: History, attempts: Sequence[AttemptRecord], configuration: str, now: datetime
) -> TrainingReport:
    """Put together what the page says."""
    last, schedule = history.last, run.inputs.schedule
    done = 0 if last is None else last.step
    return TrainingReport(
        subject=run.contract.subject,
        state=_state(run, done, attempts, now),
        done=done,
        total=schedule.total_steps,
        figures=_figures(run, history),
        charts=_charts(run, history, attempts),
        attempts=[_attempt(record, is_last=record is attempts[-1]) for record in attempts],
        settings={"Configuration": _settings(run), "Versions": _versions()},
        configuration=configuration,
        now=now,
    )


def _state(run: Run, done: int, attempts: Sequence[AttemptRecord], now: datetime) -> str:
    """Say where the run stands; a page that is no longer written must not look alive."""
    last, schedule = attempts[-1] if attempts else None, run.inputs.schedule
    if last is not None and last.reason == FINAL_REASON:
        return f"Trained: {schedule.total_steps:,} steps, {_epochs(schedule.epochs)}."
    number_of = "" if last is None else f" Attempt {last.attempt} was running at {moment(now)}."
    if not done:
        return f"No step is done yet.{number_of}"
    epoch = (done - 1) // schedule.steps_per_epoch + 1
    return f"Step {done:,} of {schedule.total_steps:,}, in epoch {epoch} of {schedule.epochs}.{number_of}"


def _epochs(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _figures(run: Run, history: History) -> dict[str, str]:
    last, recent = history.last, history.recent_seconds
    if last is None:
        return {}
    figures = {"steps": f"{last.step:,}", "loss": number(last.loss), "learning rate": number(last.learning_rate)}
    if last.gradient_norm is not None:
        figures["gradient norm"] = number(last.gradient_norm)
    seconds = statistics.median(recent)
    speed = run.work.speed(seconds)
    if "tokensPerSecond" in speed:
        figures["tokens a second"] = number(speed["tokensPerSecond"])
    if "modelFlopsUtilization" in speed:
        figures["MFU"] = _percent(speed["modelFlopsUtilization"])
    if left := run.inputs.schedule.total_steps - last.step:
        figures["time left"] = duration(timedelta(seconds=left * seconds))
    return figures


def _charts(run: Run, history: History, attempts: Sequence[AttemptRecord]) -> list[LineChart]:
    last_step = run.inputs.schedule.total_steps
    marks = [record.resumed_from_step + 1 for record in attempts if record.resumed_from_step][-_MOST_MARKS:]
    tokens, peak = run.work.tokens, run.work.peak_flops
    second = None
    if peak is not None:
        utilization = run.work.flops / run.work.tokens / peak
        second = ("MFU", lambda speed: _percent(speed * utilization))
    return [
        LineChart("Loss", history.loss.points, last_step, marks),
        LineChart(
            "Tokens a second, without padding",
            [_inverted(point, tokens) for point in history.seconds.points],
            last_step,
            marks,
            second,
        ),
        LineChart("Gradient norm, before clipping", history.gradient_norm.points, last_step, marks),
        LineChart("Learning rate", history.learning_rate.points, last_step, marks),
    ]


def _inverted(point: Point, tokens: float) -> Point:
    """Turn seconds of steps into tokens a second: the mean is that of all the time together."""
    return Point(
        first=point.first,
        last=point.last,
        low=tokens / point.high,
        high=tokens / point.low,
        total=tokens / point.mean * point.count,
        count=point.count,
    )


def _attempt(record: AttemptRecord, *, is_last: bool) -> Attempt:
    ending: Ending = "infrastructure" if record.failure_class == "infrastructure" else "other"
    if record.reason == FINAL_REASON:
        ending = "done"
    elif record.reason is None and is_last:
        ending = "running"
    return Attempt(
        number=record.attempt,
        began_at=record.began_at,
        ended_at=record.ended_at,
        ending=ending,
        reason=record.reason or "",
        message=(record.message or "")[:_LONGEST_VALUE],
        nodes=record.nodes,
        from_step=record.resumed_from_step,
        to_step=record.to_step,
        lost_steps=record.lost_steps,
    )


def _settings(run: Run) -> dict[str, str]:
    """Give what was asked for, field by field, and what follows from it."""
    contract, inputs, work = run.contract, run.inputs, run.work
    asked = contract.to_json()
    sections = ("model", "dataset", "training", "parallelism", "checkpoint", "mindformers")
    fields = ("deviceTarget", "nodes", "devicesPerNode", "peakTeraflops")
    return {
        **{name: value for section in sections for name, value in _flat(section, asked.get(section, {}))},
        **{name: str(asked[name]) for name in fields if name in asked},
        "architecture": inputs.architecture.model_type,
        "sequence length": f"{inputs.data.sequence_length:,} tokens",
        "sequences": f"{inputs.sequences:,}",
        "sequences of a step": f"{inputs.schedule.global_batch_size:,}",
        "tokens of a step, without padding": f"{work.tokens:,.0f}",
        "model FLOPs of a step": f"{work.flops:.3e}",
    }


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Give the leaves of a JSON value by their paths."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _flat(f"{name}.{key}", below)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield name, text[:_LONGEST_VALUE]


def _versions() -> dict[str, str]:
    return {
        "npu-distill": own_version(),
        **{name: importlib.metadata.version(name) for name in TESTED},
        "python": platform.python_version(),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
