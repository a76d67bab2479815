"""The whole decision from raw bodies, including those that should not exist."""

from typing import Any

import pytest
from unit.operator.builders import DIGEST, NOW, SETTINGS, body, job, key, known, later

from distill_operator.observation import Observation
from distill_operator.plan.decision import Decision, decide, recorded_status, with_apply_error


def decided(kind: str, spec: dict[str, Any] | None = None, **more: Any) -> Decision:
    return decide(key(kind), Observation(body(kind, spec, **more), dependencies=known("FinetuneRun")), SETTINGS, NOW)


def said(decision: Decision, name: str) -> tuple[str, str, str]:
    condition = decision.status.condition(name)
    assert condition is not None
    return condition.status, condition.reason, condition.message


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("DistillDataset", {"storage": None}, "spec.storage: Field required"),
        ("DistillDataset", {"pack": {"tokenizer": {"uri": "m"}}}, "spec.pack.sequenceLength: Field required"),
        ("FinetuneRun", {"training": {"epochs": 0}}, "spec.training.epochs: Input should be greater than"),
        ("EvalRun", {"benchmark": {"uri": "x"}}, "spec.benchmark.name: Field required"),
    ],
)
def test_an_invalid_spec_is_stalled_with_the_field_s_name(kind: str, spec: dict[str, Any], field: str) -> None:
    decision = decided(kind, spec)
    assert (decision.create, decision.delete) == ((), ())
    status, reason, message = said(decision, "Stalled")
    assert (status, reason) == ("True", "InvalidSpec")
    assert field in message
    assert message.endswith("Create the object again with the input corrected.")


def test_suspending_ends_what_runs_under_an_invalid_spec() -> None:
    """A newer operator has started it, before it was rolled back to this one."""
    runs = job()
    for suspend, delete in ((True, (runs,)), (False, ())):
        invalid = body("DistillDataset", {"storage": None, "suspend": suspend})
        assert decide(key("DistillDataset"), Observation(invalid, jobs=(runs,)), SETTINGS, NOW).delete == delete


def test_an_invalid_spec_is_said_once() -> None:
    first = decided("DistillDataset", {"storage": None}).status
    assert decided("DistillDataset", {"storage": None}, status=first.to_json()).status == first


def test_a_status_that_cannot_be_read_is_written_anew() -> None:
    decision = decided("DistillDataset", status={"stages": "none", "conditions": [{"type": "Ready"}]})
    assert said(decision, "Ready")[1] == "Generating"
    assert decision.create


def test_fields_of_a_newer_crd_do_not_hinder() -> None:
    """CRDs are upgraded before the operator, and stay when it is rolled back: their defaults are in every object."""
    source = {"prompts": {"uri": "math/prompts.jsonl", "novelty": {"deep": True}}}
    newer = decided("DistillDataset", {"source": source, "novelty": 1})
    assert newer == decided("DistillDataset")
    assert newer.create


def test_fields_of_a_newer_status_do_not_hinder() -> None:
    artifact = {"uri": "npu-distill/x", "digest": DIGEST, "novelty": 1}
    stage = {"name": "generate", "state": "Running", "attempt": 2, "artifact": artifact, "novelty": 1}
    recorded = recorded_status("DistillDataset", {"status": {"stages": [stage], "novelty": {}}})
    assert recorded.stages[0].attempt == 2


def test_a_refusal_of_the_api_server_is_quoted() -> None:
    seen = Observation(body("DistillDataset"))
    decision = decide(key("DistillDataset"), seen, SETTINGS, NOW)
    refused = with_apply_error(key("DistillDataset"), seen, decision, "PATCH jobs/x: exceeded quota.", NOW)
    status, reason, message = said(refused, "Ready")
    assert (status, reason) == ("False", "ApplyFailed")
    assert message == "The API server has not taken it: PATCH jobs/x: exceeded quota. Trying again."
    assert said(refused, "Stalled")[0] == "False"


def test_what_was_refused_has_not_begun() -> None:
    """Its input is open, and no Job is said to be there."""
    seen = Observation(body("FinetuneRun"), dependencies=known("FinetuneRun"))
    decision = decide(key("FinetuneRun"), seen, SETTINGS, NOW)
    assert decision.status.input is not None
    refused = with_apply_error(key("FinetuneRun"), seen, decision, "PATCH jobs/x: exceeded quota.", NOW)
    assert (refused.status.input, refused.status.stages) == (None, ())


@pytest.mark.parametrize("kind", ["DistillDataset", "FinetuneRun"])
def test_the_same_observation_is_the_same_status_at_any_later_time(kind: str) -> None:
    waited_for = known("FinetuneRun")
    first = decide(key(kind), Observation(body(kind), dependencies=waited_for), SETTINGS, NOW).status
    again = body(kind, status=first.to_json())
    assert decide(key(kind), Observation(again, dependencies=waited_for), SETTINGS, later(3600)).status == first
