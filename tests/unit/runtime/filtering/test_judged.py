"""The filter with a judge: what the verifier does not accept gets a second opinion, and is asked about once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.generate_artifacts import Generation, write_generate_artifacts
from support.interrupting import InterruptingEnd
from support.scripted_teacher import MODEL, Reaction, ScriptedTeacher, teacher

from distill_runtime.contract import FilterContract, Result
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import filter as filter_stage
from distill_runtime.storage.volume import Volume

GENERATIONS = [
    Generation("boxed", 0, "1/2", "\\boxed{1/2}"),
    Generation("boxed", 1, "1/2", "<think>\nHm.\n</think>\n\n\\boxed{1/2}"),
    Generation("words", 0, "1/2", "<think>\nHm.\n</think>\n\nIt is one half."),
    Generation("wrong", 0, "1/2", "It is \\boxed{3}."),
    Generation("wrong", 1, "1/2", "It is \\boxed{3}."),
    Generation("unsure", 0, "1/2", "It may be \\boxed{7}."),
    Generation("refused", 0, "1/2", "Something that the judge refuses: \\boxed{8}."),
    Generation("cut", 0, "1/2", "It is one half.", finish_reason="length"),
    Generation("failed", 0, "1/2", failure="badRequest"),
    Generation("empty", 0, "1/2", "<think>\nHm.\n</think>\n\n"),
]


def opinion(question: str, _asked_before: int) -> Reaction:
    """Accept one half however it is written, and be as a judge may be about others."""
    if "refuses" in question:
        return Reaction(status=400)
    answer = question.partition(": ")[2]
    verdict = "correct" if "half" in answer or "1/2" in answer else "incorrect"
    text = "Who knows?" if "may be" in answer else f"I see.\nVerdict: {verdict}"
    return Reaction(message={"role": "assistant", "content": text})


def contract(judge: ScriptedTeacher, asked: dict[str, Any] | None = None, **fields: Any) -> FilterContract:
    parameters = {
        "endpoint": {"url": judge.url, "model": MODEL},
        "promptTemplate": "{reference}: {answer}",
        "maxConcurrentRequests": 1,
        **(asked or {}),
    }
    chosen = {"verifier": "exact", "judge": parameters}
    return FilterContract.model_validate({"output": "filter", "input": "generate", "filter": chosen, **fields})


def run_as_in_a_pod(root: Path, contract: FilterContract, environment: dict[str, str]) -> Result:
    file = root / "contract.json"
    file.write_text(contract.model_dump_json(by_alias=True))
    ended = subprocess.run(
        [sys.executable, "-m", "distill_runtime", "filter", f"--contract={file}", f"--volume={root}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        check=True,
        capture_output=True,
    )
    return Result.model_validate_json(ended.stdout)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    write_generate_artifacts(tmp_path, [GENERATIONS])
    return StageContext(Volume(tmp_path), Reporter("filter", "generations"))


def check_outcome(root: Path, result: Result) -> None:
    assert result.counts == {
        "generations": 10,
        "kept": 3,
        "rejected.failed": 1,
        "rejected.incorrect": 4,
        "rejected.noAnswer": 1,
        "rejected.truncated": 1,
        "judge.asked": 5,
        "judge.accepted": 1,
        "judge.correct.accepted": 2,
        "judge.incorrect.accepted": 1,
        "judge.incorrect.failed": 1,
        "judge.incorrect.noVerdict": 1,
        "judge.incorrect.rejected": 2,
    }
    assert result.metrics == {
        "acceptanceRate": 3 / 10,
        "judgeFalseAcceptRate": 1 / 3,
        "judgeFalseRejectRate": 0.0,
    }
    assert "the judge accepted 1 of 5 answers that the verifier did not" in result.message
    kept = {(row["uuid"], row["generation"]): row["decided_by"] for row in read(root / "filter" / "kept.jsonl")}
    assert kept == {("boxed", 0): "rules", ("boxed", 1): "rules", ("words", 0): "judge"}
    rejects = {row["uuid"]: (row["reason"], row["decided_by"]) for row in read(root / "filter" / "rejects.jsonl")}
    assert rejects == {
        "wrong": ("incorrect", "judge"),
        "unsure": ("incorrect", "rules"),
        "refused": ("incorrect", "rules"),
        "cut": ("truncated", "rules"),
        "failed": ("failed", "rules"),
        "empty": ("noAnswer", "rules"),
    }
    judged = {row["uuid"]: row for row in read(root / "filter" / "judged.jsonl")}
    assert judged["words"] == {
        "uuid": "words",
        "generation": 0,
        "verifier": "incorrect",
        "judge": "accepted",
        "why": "I see.\nVerdict: correct",
    }
    assert judged["unsure"]["why"] == "Who knows?"


@pytest.mark.usefixtures("context")
def test_what_the_verifier_does_not_accept_is_judged(tmp_path: Path) -> None:
    with teacher(opinion) as judge:
        keys = {"DISTILL_JUDGE_API_KEY": "sk-of-the-judge\n", "DISTILL_API_KEY": "sk-of-the-teacher"}
        result = run_as_in_a_pod(tmp_path, contract(judge), keys)
        # Two wrong answers are the same, and so are two right ones.
        assert sorted(judge.asked.values()) == [1] * 5
        assert {headers["Authorization"] for headers in judge.headers} == {"Bearer sk-of-the-judge"}
        assert [(each.name, each.uri) for each in result.inputs][1:] == [("judge", judge.url)]
    check_outcome(tmp_path, result)
    report = json.loads((tmp_path / "filter" / "report.json").read_text())
    bars = {bar["label"]: bar["parts"] for bar in report["charts"][-1]["bars"]}
    assert bars == {"correct (a sample)": [2, 0, 0], "incorrect": [1, 2, 2]}
    card = (tmp_path / "filter" / "dataset" / "README.md").read_text()
    assert judge.url not in card
    assert MODEL in card


def test_ended_under_way_and_at_the_end_it_asks_nothing_twice(context: StageContext, tmp_path: Path) -> None:
    def ending(question: str, asked_before: int) -> Reaction:
        if sum(judge.asked.values()) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return opinion(question, asked_before)

    with teacher(ending) as judge:
        with pytest.raises(Terminated):
            filter_stage.run(contract(judge), context)
        judge.script = opinion
        with pytest.raises(Terminated):
            filter_stage.run(contract(judge), StageContext(context.volume, InterruptingEnd()))
        result = filter_stage.run(contract(judge), context)
        assert len(judge.asked) == 5
        assert judge.requests <= 5 + 1  # the one that was under way
    check_outcome(tmp_path, result)


def test_what_the_rows_do_not_call_right_is_judged_too(tmp_path: Path) -> None:
    row = {"problem": "p?", "answer": "1/2", "generations": ["one half", "0.4", "1/2 it is", "0.3", "0.5"]}
    verdicts = {"correctness_math_verify": [False, False, None, None, True]}
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, **verdicts}) + "\n")
    with teacher(opinion) as judge:
        asked = contract(judge, {"agreementSample": 0}, input={"uri": "rows.jsonl"})
        asked = asked.model_copy(update={"filter": asked.filter.model_copy(update={"verifier": "recorded"})})
        result = filter_stage.run(asked, StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    # What nobody had decided is decided now; of what the rows call right nothing was asked.
    assert result.counts == {
        "rows": 1,
        "generations": 5,
        "kept": 3,
        "rejected.incorrect": 2,
        "judge.asked": 4,
        "judge.accepted": 2,
        "judge.incorrect.accepted": 1,
        "judge.incorrect.rejected": 1,
        "judge.noVerdict.accepted": 1,
        "judge.noVerdict.rejected": 1,
    }
    assert "judgeFalseRejectRate" not in result.metrics


def test_a_model_that_is_not_served_is_said_before_anything_is_verified(context: StageContext) -> None:
    with teacher(opinion) as judge:
        judge.listed = ["another"]
        judge.served = ["another"]
        for entry in (filter_stage.check, filter_stage.run):
            with pytest.raises(WrongInput, match="the judge: ") as refusal:
                entry(contract(judge), context)
            assert refusal.value.reason == "ModelNotServed"
