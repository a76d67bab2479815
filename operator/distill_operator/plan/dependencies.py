"""Waiting for another object's artifact, and saying in plain words why."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distill_operator.api import AnyResource, StageState, StageStatus, Storage
from distill_operator.api.common import Artifact
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.stages import Invalid, Waiting
from distill_runtime.contract import ArtifactReference


def input_artifact(
    waiting: AnyResource, key: ResourceKey, known: Dependencies, kind: type[AnyResource]
) -> ArtifactReference | Waiting | Invalid:
    """Give the artifact that `waiting` reads: that of the object that `key` names, once that is Ready.

    Once planned with, an artifact stays the input: a run that goes on must not stop, nor change its data, because its
    data set is suspended, deleted or made anew.
    """
    planned_with = waiting.status.input
    if planned_with is not None:
        return ArtifactReference(uri=planned_with.uri, digest=planned_with.digest)
    found = _usable(key, known.get(key), kind, waiting.spec.storage)
    if isinstance(found, Waiting | Invalid):
        return found
    ready = found.status.condition("Ready")
    current = found.status.observed_generation == found.metadata.generation
    if current and ready is not None and ready.status == "True" and found.status.artifact is not None:
        return _reference(found.status.artifact)
    return _unfinished(key, found, "to be Ready")


def stage_artifact(
    waiting: AnyResource, key: ResourceKey, known: Dependencies, kind: type[AnyResource], stage: str
) -> ArtifactReference | Waiting | Invalid:
    """Give what the stage `stage` of the object that `key` names has written, once that stage has succeeded.

    Whether the object gets any further is no matter: what a stage has written is complete, and stays what it is.
    """
    found = _usable(key, known.get(key), kind, waiting.spec.storage)
    if isinstance(found, Waiting | Invalid):
        return found
    status: StageStatus | None = found.status.stage(stage)
    if status is not None and status.state is StageState.SUCCEEDED and status.artifact is not None:
        return _reference(status.artifact)
    return _unfinished(key, found, f"to be done with stage {stage}")


def _reference(artifact: Artifact) -> ArtifactReference:
    return ArtifactReference(uri=artifact.uri, digest=artifact.digest)


def _usable(
    key: ResourceKey, body: Mapping[str, Any] | None, kind: type[AnyResource], storage: Storage
) -> AnyResource | Waiting | Invalid:
    """Give the object that `key` names, if it exists and writes to the same claim."""
    reason = f"WaitingFor{key.kind}"
    if body is None:
        return Waiting(reason, f"{key.kind} {key.name!r} does not exist in this namespace; waiting for it.")
    try:
        resource = kind.from_api(body)
    except ValidationError:
        return Waiting(reason, f"{key.kind} {key.name!r} is not valid; see its own conditions.")
    claim = resource.spec.storage.claim_name
    if claim != storage.claim_name:
        return Invalid(
            "DifferentClaim",
            f"{key.kind} {key.name!r} writes to claim {claim!r}, but spec.storage.claimName is "
            f"{storage.claim_name!r}: use the same claim.",
        )
    return resource


def _unfinished(key: ResourceKey, resource: AnyResource, wanted: str) -> Waiting:
    """Say why an object has not got yet to where it is wanted."""
    reason = f"WaitingFor{key.kind}"
    ready, stalled = resource.status.condition("Ready"), resource.status.condition("Stalled")
    if stalled is not None and stalled.status == "True":
        return Waiting(reason, f"{key.kind} {key.name!r} has failed ({stalled.reason}): {stalled.message}")
    state = f" ({ready.reason})" if ready is not None else ""
    return Waiting(reason, f"Waiting for {key.kind} {key.name!r} {wanted}{state}.")
