"""Waiting for another object's artifact, in plain words."""

from typing import Any

import pytest
from unit.operator.builders import DIGEST, NOW, body, ready

from distill_operator.api import DistillDataset, Storage
from distill_operator.observation import ResourceKey
from distill_operator.plan.dependencies import ready_artifact
from distill_operator.plan.stages import Invalid, Waiting
from distill_runtime.contract import ArtifactReference

KEY = ResourceKey("DistillDataset", "team-a", "math")
STORAGE = Storage(claim_name="distill")


def condition(name: str, status: str, reason: str = "Generating", message: str = "") -> dict[str, Any]:
    times = {"lastTransitionTime": NOW.isoformat(), "observedGeneration": 1}
    return {"type": name, "status": status, "reason": reason, "message": message, **times}


def dataset(generation: int = 1, **status: Any) -> dict[str, Any]:
    return body("DistillDataset", metadata={"generation": generation}, status={"observedGeneration": 1, **status})


def artifact(dependency: dict[str, Any] | None) -> ArtifactReference | Waiting | Invalid:
    return ready_artifact(KEY, dependency, DistillDataset, STORAGE)


def test_a_ready_object_gives_its_artifact() -> None:
    assert artifact(ready("DistillDataset")) == ArtifactReference(uri="npu-distill/DistillDataset", digest=DIGEST)


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        (None, "DistillDataset 'math' does not exist in this namespace; waiting for it."),
        (dataset(), "Waiting for DistillDataset 'math' to be Ready."),
        (
            dataset(conditions=[condition("Ready", "False")]),
            "Waiting for DistillDataset 'math' to be Ready (Generating).",
        ),
        (
            dataset(conditions=[condition("Stalled", "True", "OutOfMemory", "Raise the limit.")]),
            "DistillDataset 'math' has failed (OutOfMemory): Raise the limit.",
        ),
        (
            body("DistillDataset", {"pack": {}}),
            "DistillDataset 'math' is not valid; see its own conditions.",
        ),
    ],
    ids=["missing", "new", "running", "failed", "invalid"],
)
def test_anything_else_is_waited_for(dependency: dict[str, Any] | None, message: str) -> None:
    assert artifact(dependency) == Waiting("WaitingForDistillDataset", message)


def test_a_status_of_an_older_generation_is_not_believed() -> None:
    stale = ready("DistillDataset", metadata={"generation": 2})
    assert isinstance(artifact(stale), Waiting)


def test_another_claim_can_never_work() -> None:
    elsewhere = ready("DistillDataset", spec={"storage": {"claimName": "other"}})
    found = artifact(elsewhere)
    assert isinstance(found, Invalid)
    assert found.reason == "DifferentClaim"
    assert "writes to claim 'other', but spec.storage.claimName is 'distill': use the same claim" in found.message
