"""Which changes of a status a person wants to find in `kubectl describe`."""

from dataclasses import dataclass

from distill_operator.api import StageState, StageStatus, Status
from distill_operator.plan.obstacles import HINDRANCES


@dataclass(frozen=True)
class Notice:
    """A Kubernetes Event to be: type Normal or Warning, reason, message."""

    type: str
    reason: str
    message: str


def notices(old: Status, new: Status) -> list[Notice]:
    """Give the Events for the change from `old` to `new`, in the order in which things happened."""
    found = [
        Notice("Normal", f"{_camel_case(stage.name)}Succeeded", stage.message or f"Stage {stage.name} succeeded.")
        for stage in new.stages
        if stage.state is StageState.SUCCEEDED and not _had_succeeded(old, stage.name)
    ]
    for stage in new.stages:
        before = old.stage(stage.name)
        if before is not None and stage.attempt > before.attempt:
            found.append(Notice(*_ended(before, stage), stage.message or f"Attempt {before.attempt} ended."))
    ready, before_ready, stalled = new.condition("Ready"), old.condition("Ready"), new.condition("Stalled")
    if ready is not None and (before_ready is None or before_ready.reason != ready.reason):
        failed = stalled is not None and stalled.status == "True"
        warning = failed or ready.reason in HINDRANCES
        found.append(Notice("Warning" if warning else "Normal", ready.reason, ready.message))
    return found


def _ended(before: StageStatus, stage: StageStatus) -> tuple[str, str]:
    """Give type and reason of the Event for the end of an attempt that another follows."""
    if before.state is StageState.FAILED:
        return "Normal", "StageRetried"
    return ("Normal", "AttemptDisrupted") if before.attempt in stage.disrupted else ("Warning", "AttemptFailed")


def _camel_case(stage: str) -> str:
    return "".join(word.capitalize() for word in stage.split("-"))


def _had_succeeded(status: Status, name: str) -> bool:
    stage = status.stage(name)
    return stage is not None and stage.state is StageState.SUCCEEDED
