"""An evaluation beside another, from what two eval stages have left: subtracted, or not and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.scripted_teacher import MODEL, Reaction, teacher

from distill_runtime.contract import (
    ArtifactReference,
    Benchmark,
    CompareContract,
    EvalContract,
    Gate,
    Protocol,
    PublishedScore,
    Result,
)
from distill_runtime.contract.comparison import Comparison, GateVerdict, Judgement
from distill_runtime.contract.report import RESULT_LIMIT
from distill_runtime.contract.stages import Baseline, EndpointTarget
from distill_runtime.evaluation.summary import Summary
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import compare
from distill_runtime.stages import eval as eval_stage
from distill_runtime.storage.volume import Volume


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    problems = [{"problem": f"{number} + 1?", "answer": str(number + 1)} for number in range(40)]
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return StageContext(Volume(tmp_path), Reporter("compare", "comparisons"))


def evaluated(context: StageContext, name: str, right_below: int, **protocol: Any) -> ArtifactReference:
    def student(question: str, _asked_before: int) -> Reaction:
        first = question.split(maxsplit=1)[0]
        number = int(first) if first.isdecimal() else 0
        content = f"\\boxed{{{number + 1 if number < right_below else -1}}}"
        return Reaction(message={"role": "assistant", "content": content})

    with teacher(student) as server:
        result = run_stage(
            eval_stage,
            EvalContract(
                output=name,
                target=EndpointTarget(url=server.url, model=MODEL),
                benchmark=Benchmark(name="plus-one", uri="benchmark.jsonl"),
                protocol=Protocol(temperature=0.5, max_tokens=32, **protocol),
            ),
            context,
        )
    assert result.artifact is not None
    return result.artifact


def compared(context: StageContext, ours: ArtifactReference, theirs: ArtifactReference, **more: Any) -> Result:
    baselines = (Baseline(name="base", artifact=theirs),)
    return run_stage(compare, CompareContract(output="beside", evaluation=ours, baselines=baselines, **more), context)


def test_the_same_problems_are_paired(context: StageContext, tmp_path: Path) -> None:
    ours, theirs = evaluated(context, "ours", 36), evaluated(context, "theirs", 30, seed=1)
    published = (PublishedScore(name="paper", score=80.0, problems=500),)
    gate = Gate.model_validate({"minScore": 95, "noWorseThan": [{"name": "base", "margin": 0}]})
    result = compared(context, ours, theirs, published=published, gate=gate)
    judgement = result.judgement
    assert judgement is not None
    paired, unpaired = judgement.comparisons
    assert (paired.method, paired.difference, paired.better, paired.worse) == ("mcnemar", 15.0, 6, 0)
    assert paired.p_value == 0.0312
    assert result.message.startswith("plus-one: 90.0 % (95 % interval ")
    assert "+15.0 points to base (95 % interval " in result.message
    assert result.message.endswith("one of 14.7 points would have shown; the gate does not hold")
    assert set(paired.differs) >= {"sampling", "server"}
    assert (unpaired.method, unpaired.difference, unpaired.better) == ("unpaired", 10.0, None)
    assert judgement.gate == GateVerdict(held=False, shortfalls=("the score is 90.00, minScore 95",))
    flipped = [json.loads(line) for line in (tmp_path / "beside/flipped.jsonl").read_text().splitlines()]
    assert [line["problem"] for line in flipped] == [f"{number} + 1?" for number in range(30, 36)]
    assert (flipped[0]["samples"][0]["extracted"], flipped[0]["baselineSamples"][0]["extracted"]) == ("31", "-1")
    summary = Summary.model_validate_json((tmp_path / "beside/summary.json").read_bytes())
    assert (summary.score, summary.comparisons, summary.gate) == (90.0, judgement.comparisons, judgement.gate)
    page = (tmp_path / "beside/report.html").read_text()
    assert "6 of 6 problems on which the two differ" in page
    assert page.count("answer <b>-1</b>") == 6
    assert "the score is 90.00, minScore 95" in page
    card = (tmp_path / "beside/report.md").read_text().splitlines()
    assert [line.split(" |")[0] for line in card[2:5]] == ["| **scripted**", "| paper", "| base"]
    again = compared(context, ours, theirs, published=published, gate=gate)
    assert (again.reason, again.judgement) == ("AlreadyComplete", judgement)


def test_other_questions_are_not_subtracted(context: StageContext) -> None:
    ours = evaluated(context, "ours", 36)
    theirs = evaluated(context, "theirs", 30, system_prompt="Be brief.")
    gate = Gate.model_validate({"noWorseThan": [{"name": "base", "margin": 100}]})
    judgement = compared(context, ours, theirs, gate=gate).judgement
    assert judgement is not None
    (found,) = judgement.comparisons
    assert (found.method, found.score, found.difference) == ("none", 75.0, None)
    assert found.reason == "Not the same was asked (systemPrompt)."
    assert judgement.gate is not None
    assert not judgement.gate.held


def test_several_samples_are_resampled(context: StageContext) -> None:
    ours = evaluated(context, "ours", 36, samples_per_problem=2)
    judgement = compared(context, ours, evaluated(context, "theirs", 36)).judgement
    assert judgement is not None
    (found,) = judgement.comparisons
    assert (found.method, found.difference, found.p_value) == ("pairedBootstrap", 0.0, 1.0)


def test_being_no_worse_must_be_shown(context: StageContext) -> None:
    """Of 40 problems, equal answers do not show that 5 points would have been seen."""
    ours, theirs = evaluated(context, "ours", 36), evaluated(context, "theirs", 36)
    for margin, held in ((5, False), (8, True)):
        gate = Gate.model_validate({"noWorseThan": [{"name": "base", "margin": margin}]})
        contract = CompareContract(
            output=f"margin-{margin}", evaluation=ours, baselines=(Baseline(name="base", artifact=theirs),), gate=gate
        )
        judgement = run_stage(compare, contract, context).judgement
        assert judgement is not None
        assert judgement.gate is not None
        assert judgement.gate.held is held


def test_eight_comparisons_fit_a_termination_message() -> None:
    fields = ("score", "difference", "difference_low", "difference_high", "smallest_difference")
    comparison = Comparison(
        name="x" * 36,  # as long as an EvalRun's
        method="pairedBootstrap",
        problems=10_000_000,
        p_value=0.0001,
        better=1_000_000,
        worse=1_000_000,
        differs=("problems", "sampling", "maxTokens", "verifier", "server", "weights", "tokenizer"),
        **dict.fromkeys(fields, -88.888),
    )
    published = Comparison(name="名" * 40, method="unpaired", problems=10_000_000, **dict.fromkeys(fields, -88.888))
    gate = GateVerdict(held=False, shortfalls=("x" * 80,) * 2 + ("x" * 150,) * 3)
    result = Result(
        outcome="Succeeded",
        reason="Compared",
        message="x" * 3000,
        judgement=Judgement(comparisons=(comparison,) * 3 + (published,) * 5, gate=gate),
    )
    assert len(result.to_termination_message().encode()) <= RESULT_LIMIT
