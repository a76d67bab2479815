"""The engine that all kinds share: which stage is next, what it needs, and how the object stands."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from distill_operator.api import AnyResource, StageState, StageStatus, Status
from distill_operator.observation import JobView, Observation
from distill_operator.plan.attempts import Step, step_stage
from distill_operator.plan.failures import stuck_terminating, until_overdue
from distill_operator.plan.kinds import KindPlan
from distill_operator.plan.stages import Blocked, Invalid, Stage, Waiting, key_of
from distill_operator.settings import Settings
from distill_runtime.contract import ArtifactReference


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
class Plan:
    """What to do, and what to say.

    `create` holds manifests in the order in which they must be created; `delete` the Jobs to delete, with their Pods.
    `input` is another object's artifact that a stage was planned with just now.
    """

    verdict: Verdict
    stages: tuple[StageStatus, ...]
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[JobView, ...] = ()
    look_again_after: timedelta | None = None
    input: ArtifactReference | None = None


@dataclass
class _Walk:
    """The stages walked so far."""

    finished: dict[str, StageStatus] = field(default_factory=dict)
    statuses: list[StageStatus] = field(default_factory=list)
    input: ArtifactReference | None = None


def plan_resource(
    kind: KindPlan, resource: AnyResource, observation: Observation, settings: Settings, now: datetime
) -> Plan:
    """Decide the next step of one object from its spec, its recorded status and what is in the cluster."""
    if earlier := _earlier_object(observation, now):
        look_again_after = until_overdue(observation.pods, now)
        verdict = Verdict(Phase.PROGRESSING, earlier.reason, earlier.message)
        return Plan(verdict, resource.status.stages, look_again_after=look_again_after)
    plan = _walk(kind, resource, observation, settings, now)
    if resource.spec.suspend and plan.verdict.phase is not Phase.DONE:
        return _suspend(plan, resource, observation, now)
    return plan


def _walk(kind: KindPlan, resource: AnyResource, observation: Observation, settings: Settings, now: datetime) -> Plan:
    """Go through the stages in their order up to the first that has not succeeded."""
    names = _stage_names(kind, resource, settings)
    walk = _Walk()
    for position, name in enumerate(names):
        recorded = resource.status.stage(name)
        if recorded is not None and recorded.state is StageState.SUCCEEDED:
            step = Step(recorded)
        else:
            planned = kind.plan_stage(resource, name, walk.finished, observation.dependency, settings)
            if isinstance(planned, Stage):
                walk.input = planned.input
                planned = _unless_changed(planned, recorded)
            stage = planned if isinstance(planned, Stage) else Blocked(**vars(kind.outline(resource, name)), by=planned)
            step = step_stage(key_of(resource), stage, recorded, observation, settings, now)
        walk.statuses.append(step.status)
        if step.status.state is not StageState.SUCCEEDED:
            rest = _with_pending(walk.statuses, names[position + 1 :], resource)
            return Plan(_verdict(step), rest, step.create, step.delete, step.look_again_after, walk.input)
        walk.finished[name] = step.status
    last = walk.statuses[-1]
    done = Verdict(Phase.DONE, kind.done_reason, last.message or "Done.")
    return Plan(done, tuple(walk.statuses), input=walk.input)


def _unless_changed(stage: Stage, recorded: StageStatus | None) -> Stage | Invalid:
    """Give the stage, unless it has begun as another: it would start over, and find nothing of what was done.

    The API server does not see every change of a field without a schema, such as spec.mindformers (CEL compares only
    the keys that both have), nor one of the profile.
    """
    begun_in = recorded.output if recorded is not None else None
    if begun_in is None or begun_in == stage.contract.output:
        return stage
    return Invalid(
        "SpecChanged",
        f"What {stage.name} would make now is not what it has begun to make in {begun_in}: something that this depends "
        "on was changed, in the spec or in the accelerator profile. Set it back, and it goes on where it was; or "
        "create the object again, which starts over.",
    )


def _stage_names(kind: KindPlan, resource: AnyResource, settings: Settings) -> tuple[str, ...]:
    """Give the stages. Those that an object has begun with stay: a profile that is changed meanwhile changes none."""
    recorded = resource.status.stages
    if any(stage.job is not None for stage in recorded):
        return tuple(stage.name for stage in recorded)
    return kind.stage_names(resource, settings)


def _verdict(step: Step) -> Verdict:
    failed = isinstance(step.blocked, Invalid) or (step.blocked is None and step.status.state is StageState.FAILED)
    return Verdict(Phase.FAILED if failed else Phase.PROGRESSING, step.reason, step.message)


def _with_pending(
    statuses: list[StageStatus], names: tuple[str, ...], resource: AnyResource
) -> tuple[StageStatus, ...]:
    recorded = (resource.status.stage(name) for name in names)
    pending = (StageStatus(name=name, state=StageState.PENDING) for name in names)
    return (*statuses, *(old or new for old, new in zip(recorded, pending, strict=True)))


def unfinished_jobs(observation: Observation) -> tuple[JobView, ...]:
    """Give the object's Jobs that run and have not been told to end."""
    owned = (job for job in observation.jobs if job.owner_uid == observation.uid)
    return tuple(job for job in owned if not job.finished and not job.deleting)


def has_begun(status: Status, observation: Observation) -> bool:
    """Tell whether a Job of the object is or was there, by which its input is settled."""
    owned = (job.owner_uid == observation.uid for job in observation.jobs)
    return any(owned) or any(stage.job is not None for stage in status.stages)


def _suspend(plan: Plan, resource: AnyResource, observation: Observation, now: datetime) -> Plan:
    """Stop what runs instead of going on. Artifacts and checkpoints stay, so nothing that was done is lost."""
    running = unfinished_jobs(observation)
    if plan.verdict.phase is Phase.FAILED:  # what is wrong is still what there is to say
        return replace(plan, create=(), delete=running)
    message = "Suspended; no Pods run. Set spec.suspend to false to go on where it was."
    if stuck := stuck_terminating(observation.pods, now):
        message = f"Suspended. {stuck.message}"
    elif running or any(not pod.finished for pod in observation.pods):
        message = "Suspended; its Pods are ending."
    stages = tuple(_paused(stage, resource.status.stage(stage.name)) for stage in plan.stages)
    verdict, look_again_after = Verdict(Phase.SUSPENDED, "Suspended", message), until_overdue(observation.pods, now)
    fixed = plan.input if has_begun(resource.status, observation) else None
    return Plan(verdict, stages, delete=running, look_again_after=look_again_after, input=fixed)


def _paused(stage: StageStatus, recorded: StageStatus | None) -> StageStatus:
    """Keep what was done in sight; a stage that would start now has not, so it stays as it is recorded."""
    if stage.state in (StageState.SUCCEEDED, StageState.FAILED):
        return stage
    if stage.state is StageState.PENDING:
        stage = recorded or StageStatus(name=stage.name, state=StageState.PENDING)
    return stage.model_copy(update={"state": StageState.PENDING, "rate": None, "eta_seconds": None, "message": None})


def _earlier_object(observation: Observation, now: datetime) -> Waiting | None:
    """Say when a deleted object of the same name has left children that would be in the way.

    A Pod that runs writes to the same directory. A Job, ended or not, has the name that the new object's would have.
    """
    jobs = [f"job {job.name}" for job in observation.jobs if job.owner_uid != observation.uid]
    pods = [f"pod {pod.name}" for pod in observation.pods if pod.owner_uid != observation.uid and not pod.finished]
    if not jobs and not pods:
        return None
    if stuck := stuck_terminating(observation.pods, now):
        return Waiting(stuck.reason, stuck.message)
    first = (jobs + pods)[0]
    return Waiting(
        "EarlierObjectEnding",
        f"An object of the same name was deleted, and its {first} is still there; waiting for it to go. "
        f"If it was orphaned, `kubectl delete {first}`.",
    )
