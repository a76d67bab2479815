"""The status of an object from its plan: conditions in kstatus' terms, stages, figures."""

from datetime import datetime, timedelta
from typing import Any

from distill_operator.api import AnyResource, Condition, StageState, StageStatus, Status
from distill_operator.plan.kinds import KindPlan
from distill_operator.plan.pipeline import Phase, Plan, Verdict

_CONDITIONS = {
    # phase: (Ready, Reconciling, Stalled), as kstatus reads them (sigs.k8s.io/cli-utils/pkg/kstatus):
    # Reconciling True is InProgress, Stalled True is Failed, Ready True is Current.
    Phase.PROGRESSING: ("False", "True", "False"),
    Phase.SUSPENDED: ("False", "False", "False"),
    Phase.FAILED: ("False", "False", "True"),
    Phase.DONE: ("True", "False", "False"),
}
TYPES = ("Ready", "Reconciling", "Stalled")


def summarize(kind: KindPlan, resource: AnyResource, plan: Plan, now: datetime) -> Status:
    """Give the whole status; the same plan of the same object gives an equal one."""
    previous: Status = resource.status
    by_name = {stage.name: stage for stage in plan.stages}
    status_type = type(previous)
    ended = plan.verdict.phase in (Phase.DONE, Phase.FAILED)  # a complete result stays, whatever its gate says
    complete = ended and bool(plan.stages) and all(stage.state is StageState.SUCCEEDED for stage in plan.stages)
    fields: dict[str, Any] = {
        "observed_generation": resource.metadata.generation,
        "conditions": conditions(plan.verdict, previous, resource.metadata.generation, now),
        "progress": progress_text(plan.stages),
        "input": plan.input.model_dump() if plan.input is not None else previous.input,
        "stages": plan.stages,
        "artifact": plan.stages[-1].artifact if complete else None,
        **{name: value for name, value in kind.figures(resource, by_name).items() if value is not None},
    }
    return status_type.model_validate(fields)


def conditions(verdict: Verdict, previous: Status, generation: int, now: datetime) -> tuple[Condition, ...]:
    """Give the three conditions; a transition time changes only with its condition's status."""
    return tuple(
        _condition(name, status, verdict, previous, generation, now)
        for name, status in zip(TYPES, _CONDITIONS[verdict.phase], strict=True)
    )


def _condition(name: str, status: str, verdict: Verdict, previous: Status, generation: int, now: datetime) -> Condition:
    before = previous.condition(name)
    unchanged = before is not None and before.status == status
    # Reconciling and Stalled explain themselves only while they are True; Ready always says how it stands.
    speaks = name == "Ready" or status == "True"
    return Condition(
        type=name,
        status=status,
        reason=verdict.reason if speaks else f"Not{name}",
        message=verdict.message if speaks else "",
        last_transition_time=before.last_transition_time if before is not None and unchanged else now,
        observed_generation=generation,
    )


def progress_text(stages: tuple[StageStatus, ...]) -> str | None:
    """Give the first unfinished stage in a few words, or None when there is none."""
    current = next((stage for stage in stages if stage.state is not StageState.SUCCEEDED), None)
    if current is None:
        return None
    if current.done is None or not current.unit:
        return current.name
    amount = f"{current.done}" if current.total is None else f"{current.done}/{current.total}"
    left = f", {timedelta(seconds=current.eta_seconds)} left" if current.eta_seconds is not None else ""
    return f"{amount} {current.unit}{left}"


def worth_writing(old: Status, new: Status, seconds_since_write: float, interval_seconds: float) -> bool:
    """Whether to write a status now: a change of state at once, a change of numbers once an interval, else never."""
    if new == old:
        return False
    return _state(new) != _state(old) or seconds_since_write >= interval_seconds


def _state(status: Status) -> tuple[Any, ...]:
    verdicts = tuple((item.type, item.status, item.reason) for item in status.conditions)
    attempts = tuple((stage.name, stage.attempt, stage.disrupted, stage.given_back) for stage in status.stages)
    return status.observed_generation, verdicts, attempts, status.artifact
