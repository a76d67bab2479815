"""The whole decision about one object, from its raw body: what to create, what to delete, what to say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from distill_operator.api import AnyResource, Status
from distill_operator.observation import JobView, Observation, ResourceKey
from distill_operator.plan.buckets import sort_children
from distill_operator.plan.kinds import KIND_PLANS, KindPlan
from distill_operator.plan.manifests import attempt_manifests
from distill_operator.plan.obstacles import APPLY_FAILED
from distill_operator.plan.pipeline import Phase, Start, Verdict, has_begun, plan_resource
from distill_operator.plan.status import conditions, summarize
from distill_operator.settings import Settings


@dataclass(frozen=True)
class Decision:
    """What to do about one object, and the status that says so.

    `look_again_after` is set where time alone, without any event, changes what is to be done; `confirm` where the Pods
    are to be read anew before anything is, as `Observation.confirmed` then says.
    """

    status: Status
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[JobView, ...] = ()
    look_again_after: timedelta | None = None
    confirm: bool = False


def decide(key: ResourceKey, observation: Observation, settings: Settings, now: datetime) -> Decision:
    """Decide about one object; a spec that the API server should not have let through becomes Stalled."""
    kind = KIND_PLANS[key.kind]
    try:
        resource = parse(kind, observation.resource)
    except ValidationError as error:
        verdict = Verdict(Phase.FAILED, "InvalidSpec", invalid_spec_message(error))
        suspended = (observation.resource.get("spec") or {}).get("suspend") is True
        delete = sort_children(key, observation).unfinished_jobs if suspended else ()
        return Decision(_status_without_stages(key, observation, verdict, now), delete=delete)
    plan = plan_resource(kind, resource, observation, settings, now)
    create = _manifests(key, observation, plan.start, settings) if plan.start is not None else ()
    return Decision(summarize(kind, resource, plan, now), create, plan.delete, plan.look_again_after, plan.confirm)


def _manifests(
    key: ResourceKey, observation: Observation, start: Start, settings: Settings
) -> tuple[dict[str, Any], ...]:
    return tuple(attempt_manifests(key, observation.uid, start.stage, start.attempt, start.avoid, settings))


def with_apply_error(
    key: ResourceKey, observation: Observation, decision: Decision, message: str, now: datetime
) -> Decision:
    """Give the decision again, its status saying that the API server has not taken a child."""
    said = f"The API server has not taken it: {message.rstrip('.')}. Trying again."
    verdict = Verdict(Phase.PROGRESSING, APPLY_FAILED, said)
    return _with_verdict(key, observation, decision, verdict, now)


def with_invalid_child(
    key: ResourceKey, observation: Observation, decision: Decision, message: str, now: datetime
) -> Decision:
    """Give the decision again, its status saying that a child is not valid, so that trying again would not help."""
    remedy = (
        "Correct spec.podTemplate, or the accelerator profile or the stages in the chart's values, upon which the "
        "operator tries again, or create the object again with its spec corrected."
    )
    verdict = Verdict(Phase.FAILED, "InvalidChild", f"The API server calls it invalid: {message}. {remedy}")
    return _with_verdict(key, observation, decision, verdict, now)


def with_operator_error(key: ResourceKey, observation: Observation, what: str, now: datetime) -> Decision:
    """Give the decision about an object that the planner itself fails for: nothing is done, and a person is told."""
    message = (
        f"The operator itself failed in deciding what is next: {what}. It looks again when something changes; what "
        "runs goes on. Please report it with the YAML of this object and its Jobs and the operator's log."
    )
    verdict = Verdict(Phase.FAILED, "OperatorError", message)
    return Decision(_status_without_stages(key, observation, verdict, now))


def _with_verdict(
    key: ResourceKey, observation: Observation, decision: Decision, verdict: Verdict, now: datetime
) -> Decision:
    generation = observation.resource["metadata"].get("generation", 1)
    previous = recorded_status(key.kind, observation.resource)
    update: dict[str, Any] = {"conditions": conditions(verdict, previous, generation, now)}
    if not has_begun(previous, sort_children(key, observation)):
        update |= {"input": previous.input, "stages": previous.stages}
    return replace(decision, status=decision.status.model_copy(update=update))


def parse(kind: KindPlan, body: Mapping[str, Any]) -> AnyResource:
    """Parse an object, its status as far as it can be read.

    Raises:
        ValidationError: the spec is not what the API promises.
    """
    status = recorded_status(kind.model.__name__, body)
    return kind.model.from_api({**body, "status": status})


def recorded_status(kind: str, body: Mapping[str, Any]) -> Status:
    """Give the status that an object carries; one that cannot be read counts as none, and is written anew."""
    status_type = KIND_PLANS[kind].model.model_fields["status"].annotation
    assert isinstance(status_type, type)
    assert issubclass(status_type, Status)
    try:
        return status_type.model_validate(body.get("status") or {}, extra="ignore")
    except ValidationError:
        return status_type()


def invalid_spec_message(error: ValidationError) -> str:
    """Say which fields are wrong and how, as `kubectl` does for what the API server refuses."""
    problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
    return f"The spec is not valid: {'; '.join(problems)}. Create the object again with the input corrected."


def _status_without_stages(key: ResourceKey, observation: Observation, verdict: Verdict, now: datetime) -> Status:
    previous = recorded_status(key.kind, observation.resource)
    generation = observation.resource["metadata"].get("generation", 1)
    update = {"observed_generation": generation, "conditions": conditions(verdict, previous, generation, now)}
    return previous.model_copy(update=update)
