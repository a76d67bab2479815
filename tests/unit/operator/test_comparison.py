"""An EvalRun beside others: what it waits for, what the stage compare is told, and a gate that does not hold."""

from typing import Any

import pytest
from unit.operator.builders import DIGEST, NOW, SETTINGS, body, known, ready, resource, succeeded_stage

from distill_operator.observation import Observation, ResourceKey
from distill_operator.plan.decision import Decision, decide
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Invalid, Stage, Waiting
from distill_runtime.contract import CompareContract

BASE = ResourceKey("EvalRun", "team-a", "base")
SPEC: dict[str, Any] = {
    "compareWith": [{"evalRef": {"name": "base"}}, {"name": "paper", "score": 90, "problems": 500}],
    "gate": {"minScore": 80, "noWorseThan": [{"evalRef": {"name": "base"}, "margin": 1}]},
}


def base(**status: Any) -> dict[str, Any]:
    found = ready("EvalRun", metadata={"name": "base"})
    stage = succeeded_stage("eval", artifact={"uri": "npu-distill/base", "digest": DIGEST})
    return {**found, "status": {**found["status"], "stages": [stage.to_json()], **status}}


def plan(name: str = "compare", spec: dict[str, Any] | None = None, baseline: dict[str, Any] | None = None) -> Any:
    others = {} if baseline is None else {BASE: baseline}
    finished = {"eval": succeeded_stage("eval")}
    return KIND_PLANS["EvalRun"].plan_stage(
        resource("EvalRun", spec or SPEC), name, finished, known("EvalRun") | others, SETTINGS
    )


def test_the_questions_are_asked_while_a_baseline_is_waited_for() -> None:
    assert isinstance(plan("eval"), Stage)
    waiting = plan("compare")
    assert waiting == Waiting("WaitingForEvalRun", "EvalRun 'base' does not exist in this namespace; waiting for it.")


def test_baselines_are_compared_by_what_their_eval_stage_left() -> None:
    stage = plan(baseline=base(artifact={"uri": "npu-distill/base-compare", "digest": DIGEST}))
    assert isinstance(stage, Stage)
    contract = stage.contract
    assert isinstance(contract, CompareContract)
    assert [(each.name, each.artifact.uri) for each in contract.baselines] == [("base", "npu-distill/base")]
    assert (contract.evaluation.uri, contract.published[0].name) == ("npu-distill/eval", "paper")
    assert contract.gate is not None
    assert (contract.gate.min_score, contract.gate.no_worse_than[0].name) == (80, "base")
    assert (stage.devices, stage.profile) == (0, None)


def test_a_baseline_is_compared_with_as_soon_as_it_has_a_score() -> None:
    """Whether its own gate holds, or whom it is compared with itself, concerns nobody else."""
    unready = [{**base()["status"]["conditions"][0], "type": "Ready", "status": "False", "reason": "GateNotHeld"}]
    assert isinstance(plan(baseline=base(conditions=unready)), Stage)
    asking = succeeded_stage("eval", artifact={"uri": "npu-distill/base", "digest": DIGEST}).to_json()
    waiting = plan(baseline=base(conditions=unready, stages=[{**asking, "state": "Running"}]))
    assert waiting == Waiting(
        "WaitingForEvalRun", "Waiting for EvalRun 'base' to be done with stage eval (GateNotHeld)."
    )


def test_another_gate_is_another_comparison_of_the_same_answers() -> None:
    lower = plan(baseline=base(), spec={**SPEC, "gate": {"minScore": 70}})
    assert lower.contract.output != plan(baseline=base()).contract.output
    assert plan("eval").contract.output == plan("eval", spec={"gate": {"minScore": 1}}).contract.output


def test_nothing_is_compared_with_itself() -> None:
    found = plan(spec={"compareWith": [{"evalRef": {"name": "score"}}]})
    assert isinstance(found, Invalid)


def decided(held: bool, **fields: Any) -> Decision:
    gate = {"held": held, "shortfalls": [] if held else ["the score is 79.00, minScore 80"]}
    comparison = {"name": "base", "method": "mcnemar", "difference": 1.24, "differenceLow": -0.3, "differenceHigh": 2.8}
    compare = succeeded_stage("compare", judgement={"comparisons": [comparison], "gate": gate}, message="79.0 %.")
    evaluation = succeeded_stage("eval", metrics={"score": 79.0})
    status = {"observedGeneration": 1, "stages": [evaluation.to_json(), compare.to_json()]}
    run = body("EvalRun", {**SPEC, **fields}, status=status)
    return decide(ResourceKey("EvalRun", "team-a", "score"), Observation(run), SETTINGS, NOW)


@pytest.mark.parametrize(("held", "reason"), [(True, "Scored"), (False, "GateNotHeld")])
def test_a_gate_decides_whether_it_is_ready_and_the_result_is_kept(held: bool, reason: str) -> None:
    """Raising retry does not try again what is complete."""
    decision = decided(held, retry=3)
    status = decision.status.to_json()
    conditions = {each["type"]: each for each in status["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == (str(held), reason)
    assert conditions["Stalled"]["status"] == str(not held)
    assert (status["score"], status["artifact"]["uri"]) == (79.0, "npu-distill/compare")
    assert (status["difference"], status["gate"]["held"]) == ("+1.2 (-0.3 to +2.8)", held)
    assert status["comparison"][0]["name"] == "base"
    assert decision.create == ()
    if not held:
        assert "the score is 79.00, minScore 80" in conditions["Ready"]["message"]
