"""How an attempt has ended, by what is there to be seen, and what the status says of it then."""

from distill_operator.api import StageState, StageStatus
from distill_operator.api.common import Artifact, StageInput
from distill_operator.observation import ResourceKey
from distill_operator.plan import attempt_records
from distill_operator.plan.buckets import Attempt
from distill_operator.plan.failures import Failure, disruption, failure, given_up
from distill_operator.plan.merging import readable
from distill_operator.plan.stages import Outline
from distill_runtime.contract import Result


def cause_of(stage: Outline, attempt: Attempt) -> Failure:
    """Say why an attempt failed."""
    cause = failure(attempt.job, attempt.pods)
    return cause if cause.final else disruption(stage, attempt.job, attempt.pods) or cause


def cause_of_giving_up(attempt: Attempt) -> Failure | None:
    """Say why an attempt is given up, if a Pod of it is still there that cannot be ended."""
    held = next((pod for pod in attempt.pods if not pod.finished), None)
    return given_up(held) if held is not None else None


def succeeded(stage: Outline, before: StageStatus, attempt: Attempt, result: Result) -> StageStatus:
    """Give the status of a stage that is done."""
    artifact = result.artifact
    if stage.fenced:
        before = attempt_records.succeeded(before, attempt, result.reason, result.metrics)
    return before.model_copy(
        update={
            "state": StageState.SUCCEEDED,
            "given_back": 0,
            "next_try_at": None,
            "finished_at": attempt.job.finished_at,
            "done": before.total if before.total is not None else before.done,
            "rate": None,
            "eta_seconds": None,
            "message": result.message,
            "reason": None,
            "failure_class": None,
            "counts": result.counts,
            "metrics": readable(result.metrics),
            "inputs": tuple(StageInput.model_validate(each.model_dump()) for each in result.inputs),
            "artifact": Artifact(uri=artifact.uri, digest=artifact.digest) if artifact is not None else None,
            "judgement": result.judgement,
        }
    )


def with_failure(key: ResourceKey, attempt: Attempt, before: StageStatus, retry: int, cause: Failure) -> StageStatus:
    """Give the status of a stage that is not tried again, with what a person can do about it.

    `retry` is the spec.retry that it was tried under.
    """
    again = retry + 1
    patch = f'{{"spec":{{"retry":{again}}}}}'
    command = f"kubectl patch {key.kind.lower()} {key.name} -n {key.namespace} --type merge -p '{patch}'"
    remedy = (
        f"Correct what is on the claim and set spec.retry to {again} (`{command}`), which runs the stage again; "
        "or, if it is the spec, create the object again with it corrected"
        if cause.final
        else f"When the cause is mended, set spec.retry to {again} (`{command}`), which runs the stage again, from "
        "where it was"
    )
    return before.model_copy(
        update={
            "state": StageState.FAILED,
            "retry": retry,
            "finished_at": attempt.job.finished_at,
            "rate": None,
            "eta_seconds": None,
            "message": f"{cause.message.rstrip('.')}. {remedy}.",
            "reason": cause.reason,
            "failure_class": cause.failure_class,
        }
    )
