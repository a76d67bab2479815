"""Waiting for another object's artifact, and saying in plain words why."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distill_operator.api import AnyResource, StageStatus, Storage
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
    found = _ready(key, known.get(key), kind, waiting.spec.storage)
    return found if isinstance(found, Waiting | Invalid) else _reference(found.status.artifact)


def stage_artifact(
    waiting: AnyResource, key: ResourceKey, known: Dependencies, kind: type[AnyResource], stage: str
) -> ArtifactReference | Waiting | Invalid:
    """Give what the stage `stage` of the object that `key` names has written, once the object is Ready."""
    found = _ready(key, known.get(key), kind, waiting.spec.storage)
    if isinstance(found, Waiting | Invalid):
        return found
    status: StageStatus | None = found.status.stage(stage)
    if status is None or status.artifact is None:
        return Waiting(
            f"WaitingFor{key.kind}", f"{key.kind} {key.name!r} has no artifact of stage {stage} in its status."
        )
    return _reference(status.artifact)


def _reference(artifact: Artifact) -> ArtifactReference:
    return ArtifactReference(uri=artifact.uri, digest=artifact.digest)


def _ready(
    key: ResourceKey, body: Mapping[str, Any] | None, kind: type[AnyResource], storage: Storage
) -> AnyResource | Waiting | Invalid:
    """Give the object that `key` names, if it is Ready and has an artifact on the same claim."""
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
        return resource
    if stalled is not None and stalled.status == "True":
        return Waiting(reason, f"{key.kind} {key.name!r} has failed ({stalled.reason}): {stalled.message}")
    state = f" ({ready.reason})" if ready is not None else ""
    return Waiting(reason, f"Waiting for {key.kind} {key.name!r} to be Ready{state}.")
