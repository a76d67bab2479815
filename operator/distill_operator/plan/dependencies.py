"""Waiting for another object's artifact, and saying in plain words why."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distill_operator.api import AnyResource, Storage
from distill_operator.observation import ResourceKey
from distill_operator.plan.stages import Invalid, Waiting
from distill_runtime.contract import ArtifactReference


def input_artifact(
    waiting: AnyResource, key: ResourceKey, body: Mapping[str, Any] | None, kind: type[AnyResource]
) -> ArtifactReference | Waiting | Invalid:
    """Give the artifact that `waiting` reads: that of the object that `key` names, once that is Ready.

    `body` is that object, or None if there is none. Once planned with, an artifact stays the input: a run that goes on
    must not stop, nor change its data, because its data set is suspended, deleted or made anew.
    """
    planned_with = waiting.status.input
    if planned_with is not None:
        return ArtifactReference(uri=planned_with.uri, digest=planned_with.digest)
    return _ready_artifact(key, body, kind, waiting.spec.storage)


def _ready_artifact(
    key: ResourceKey, body: Mapping[str, Any] | None, kind: type[AnyResource], storage: Storage
) -> ArtifactReference | Waiting | Invalid:
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
    ready, stalled = resource.status.condition("Ready"), resource.status.condition("Stalled")
    current = resource.status.observed_generation == resource.metadata.generation
    if current and ready is not None and ready.status == "True" and resource.status.artifact is not None:
        artifact = resource.status.artifact
        return ArtifactReference(uri=artifact.uri, digest=artifact.digest)
    if stalled is not None and stalled.status == "True":
        return Waiting(reason, f"{key.kind} {key.name!r} has failed ({stalled.reason}): {stalled.message}")
    state = f" ({ready.reason})" if ready is not None else ""
    return Waiting(reason, f"Waiting for {key.kind} {key.name!r} to be Ready{state}.")
