"""The engine that all kinds share: which stage is next, what it needs, and how the object stands."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from distill_operator.api import AnyResource, StageState, StageStatus, Status
from distill_operator.observation import Dependencies, JobView, Observation
from distill_operator.plan.attempts import step_stage
from distill_operator.plan.buckets import Children, sort_children
from distill_operator.plan.endpoints import refuse_endpoints
from distill_operator.plan.kinds import KindPlan
from distill_operator.plan.obstacles import stuck_terminating, until_overdue
from distill_operator.plan.pod_templates import carried_labels, refuse_pod_template
from distill_operator.plan.stages import Blocked, Invalid, Stage, Waiting, key_of
from distill_operator.plan.steps import Step
from distill_operator.settings import Settings
from distill_runtime.contract import ArtifactReference

_GATE_REMEDY = (
    "Created again with another gate, it takes over the answers that are there; for other weights, it asks anew."
)


class Phase(StrEnum):
    """How an object stands; each is one combination of the three conditions."""

    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    FAILED = "Failed"
    DONE = "Done"


@dataclass(frozen=True)
class Verdict:
    """The phase with its reason and message, as the conditions will say it."""

    phase: Phase
    reason: str
    message: str


@dataclass(frozen=True)
class Start:
    """An attempt of a stage that is to be started now, rather not on the nodes of `avoid`."""

    stage: Stage
    attempt: int
    avoid: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to do, and what to say.

    `delete` holds the Jobs to delete, with their Pods. `input` is another object's artifact that an attempt was planned
    with.
    """

    verdict: Verdict
    stages: tuple[StageStatus, ...]
    start: Start | None = None
    delete: tuple[JobView, ...] = ()
    look_again_after: timedelta | None = None
    confirm: bool = False
    input: ArtifactReference | None = None


def plan_resource(
    kind: KindPlan, resource: AnyResource, observation: Observation, settings: Settings, now: datetime
) -> Plan:
    """Decide the next step of one object from its spec, its recorded status and what is in the cluster."""
    children = sort_children(key_of(resource), observation)
    plan = _walk(kind, resource, observation.dependencies, children, settings, now)
    if resource.spec.suspend and plan.verdict.phase is not Phase.DONE:
        return _suspend(plan, resource, children, now)
    return plan


def _walk(
    kind: KindPlan,
    resource: AnyResource,
    known: Dependencies,
    children: Children,
    settings: Settings,
    now: datetime,
) -> Plan:
    """Go through the stages in their order up to the first that has not succeeded."""
    names = _stage_names(kind, resource, settings)
    statuses: dict[str, StageStatus] = {}
    for position, name in enumerate(names):
        recorded = resource.status.stage(name)
        if recorded is not None and recorded.state is StageState.SUCCEEDED:
            statuses[name] = recorded
            continue
        planned = _bounded(kind.plan_stage(resource, name, statuses, known, settings), resource, settings)
        begun_in = recorded.output if recorded is not None and recorded.output else children.output_of(name)
        fitting = _unless_changed(planned, begun_in) if isinstance(planned, Stage) else planned
        stage = fitting if isinstance(fitting, Stage) else Blocked(kind.outline(resource, name), fitting)
        step = step_stage(stage, recorded, children, resource.spec.retry, now)
        statuses[name] = step.status
        if step.status.state is not StageState.SUCCEEDED:
            begins = step.start is not None or has_begun(resource.status, children)
            return Plan(
                verdict=_verdict(step),
                stages=_with_pending(tuple(statuses.values()), names[position + 1 :], resource),
                start=Start(stage, step.start, step.avoid)
                if isinstance(stage, Stage) and step.start is not None
                else None,
                delete=step.delete,
                look_again_after=step.look_again_after,
                confirm=step.confirm,
                input=planned.input if isinstance(planned, Stage) and begins else None,
            )
    last = statuses[names[-1]]
    if shortfalls := _shortfalls(last):
        message = f"{last.message} It is complete and kept, but {'; '.join(shortfalls)}. {_GATE_REMEDY}"
        return Plan(Verdict(Phase.FAILED, "GateNotHeld", message), tuple(statuses.values()))
    return Plan(Verdict(Phase.DONE, kind.done_reason, last.message or "Done."), tuple(statuses.values()))


def _bounded(
    planned: Stage | Waiting | Invalid, resource: AnyResource, settings: Settings
) -> Stage | Waiting | Invalid:
    """Give what was planned within what the chart allows whoever created the object, or say what it does not."""
    refusal = refuse_endpoints(resource, settings)
    if refusal is None and isinstance(planned, Stage):
        refusal = refuse_pod_template(planned, settings)
        planned = replace(planned, labels=carried_labels(resource.metadata.labels, settings))
    return refusal or planned


def _shortfalls(last: StageStatus) -> tuple[str, ...]:
    """Say what a finished result does not hold of what was asked of it; nothing, if there is no gate."""
    gate = last.judgement.gate if last.judgement is not None else None
    return () if gate is None or gate.held else gate.shortfalls


def _unless_changed(stage: Stage, begun_in: str | None) -> Stage | Invalid:
    """Give the stage, unless it has begun as another: it would start over, and find nothing of what was done.

    The API server does not see every change of a field without a schema, such as spec.mindformers (CEL compares only
    the keys that both have), nor one of the profile.
    """
    if begun_in is None or begun_in == stage.contract.output:
        return stage
    return Invalid(
        "SpecChanged",
        f"What {stage.outline.name} would make now is not what it has begun to make in {begun_in}: something that this "
        "depends on was changed, in the spec, in the accelerator profile, or in what a benchmark's name stands for. "
        "Set it back, and it goes on where it was; or create the object again, which starts over.",
    )


def _stage_names(kind: KindPlan, resource: AnyResource, settings: Settings) -> tuple[str, ...]:
    """Give the stages. Those that an object has begun with stay: a profile that is changed meanwhile changes none."""
    begun_with: tuple[str, ...] = resource.status.begun_with
    return begun_with or kind.stage_names(resource, settings)


def _verdict(step: Step) -> Verdict:
    failed = isinstance(step.blocked, Invalid) or (step.blocked is None and step.status.state is StageState.FAILED)
    return Verdict(Phase.FAILED if failed else Phase.PROGRESSING, step.reason, step.message)


def _with_pending(
    statuses: tuple[StageStatus, ...], names: tuple[str, ...], resource: AnyResource
) -> tuple[StageStatus, ...]:
    recorded = (resource.status.stage(name) for name in names)
    pending = (StageStatus(name=name, state=StageState.PENDING) for name in names)
    return (*statuses, *(old or new for old, new in zip(recorded, pending, strict=True)))


def has_begun(status: Status, children: Children) -> bool:
    """Tell whether a Job of the object is or was there, by which its input is settled."""
    return bool(children.jobs) or any(stage.job is not None for stage in status.stages)


def _suspend(plan: Plan, resource: AnyResource, children: Children, now: datetime) -> Plan:
    """Stop what runs instead of going on. Artifacts and checkpoints stay, so nothing that was done is lost."""
    running, ending = children.unfinished_jobs, children.unfinished_pods
    if plan.verdict.phase is Phase.FAILED:  # what is wrong is still what there is to say
        return replace(plan, start=None, delete=running)
    message = "Suspended; no Pods run. Set spec.suspend to false to go on where it was."
    if stuck := stuck_terminating(ending, now):
        message = f"Suspended. {stuck.message}"
    elif running or ending:
        message = "Suspended; its Pods are ending."
    stages = tuple(_paused(stage, resource.status.stage(stage.name)) for stage in plan.stages)
    verdict, look_again_after = Verdict(Phase.SUSPENDED, "Suspended", message), until_overdue(ending, now)
    fixed = plan.input if has_begun(resource.status, children) else None
    return Plan(verdict, stages, delete=running, look_again_after=look_again_after, input=fixed)


def _paused(stage: StageStatus, recorded: StageStatus | None) -> StageStatus:
    """Keep what was done in sight; a stage that would start now has not, so it stays as it is recorded."""
    if stage.state in (StageState.SUCCEEDED, StageState.FAILED):
        return stage
    if stage.state is StageState.PENDING:
        stage = recorded or StageStatus(name=stage.name, state=StageState.PENDING)
        if stage.state is StageState.FAILED:  # it is to be tried again, which waits like everything else
            return stage
    return stage.model_copy(update={"state": StageState.PENDING, "rate": None, "eta_seconds": None, "message": None})
