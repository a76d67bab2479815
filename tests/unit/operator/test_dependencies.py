"""Waiting for another object's artifact, in plain words."""

from typing import Any

import pytest
from unit.operator.builders import DIGEST, NOW, body, ready, resource

from distill_operator.api import DistillDataset
from distill_operator.observation import ResourceKey
from distill_operator.plan.dependencies import input_artifact
from distill_operator.plan.stages import Invalid, Waiting
from distill_runtime.contract import ArtifactReference

KEY = ResourceKey("DistillDataset", "team-a", "math")


def condition(name: str, status: str, reason: str = "Generating", message: str = "") -> dict[str, Any]:
    times = {"lastTransitionTime": NOW.isoformat(), "observedGeneration": 1}
    return {"type": name, "status": status, "reason": reason, "message": message, **times}


def dataset(generation: int = 1, **status: Any) -> dict[str, Any]:
    return body("DistillDataset", metadata={"generation": generation}, status={"observedGeneration": 1, **status})


def artifact(
    dependency: dict[str, Any] | None, status: dict[str, Any] | None = None
) -> ArtifactReference | Waiting | Invalid:
    known = {KEY: dependency} if dependency is not None else {}
    return input_artifact(resource("FinetuneRun", status=status or {}), KEY, known, DistillDataset)


def test_a_ready_object_gives_its_artifact() -> None:
    assert artifact(ready("DistillDataset")) == ArtifactReference(uri="npu-distill/DistillDataset", digest=DIGEST)


def test_fields_of_a_newer_crd_do_not_hinder() -> None:
    newer = ready("DistillDataset", spec={"storage": {"claimName": "distill", "novelty": 1}})
    assert isinstance(artifact(newer), ArtifactReference)


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


@pytest.mark.parametrize(
    "dependency",
    [None, dataset(generation=2, conditions=[condition("Ready", "False")]), ready("DistillDataset")],
    ids=["deleted", "suspended", "made-anew"],
)
def test_what_was_planned_with_stays_the_input(dependency: dict[str, Any] | None) -> None:
    planned_with = {"uri": "npu-distill/earlier", "digest": f"sha256:{'e' * 64}"}
    assert artifact(dependency, {"input": planned_with}) == ArtifactReference.model_validate(planned_with)
