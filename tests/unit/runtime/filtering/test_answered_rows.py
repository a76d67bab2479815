"""Rows that have their generations: every one is kept, or rejected with a reason, as those of a teacher are."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.interrupting import InterruptingEnd
from support.stage_process import end_stage

from distill_runtime.contract import Decontamination, FilterContract, FilterParameters, RowSource
from distill_runtime.contract.parameters import ProblemSet
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import filter as filter_stage
from distill_runtime.storage.artifact import open_artifact
from distill_runtime.storage.volume import Volume

RIGHT = "<think>\nHalf of one.\n</think>\n\nSo it is \\boxed{\\frac{1}{2}}."
WRONG = "<think>\nA third.\n</think>\n\nSo it is \\boxed{\\frac{1}{3}}."


def row(uuid: str, generations: object, **columns: object) -> dict[str, Any]:
    """A row in the shape of OpenR1-Math-220k, whose generations are all complete unless it says otherwise."""
    count = len(generations) if isinstance(generations, list) else 0
    return {
        "problem": f"the problem {uuid}",
        "answer": "0.5",
        "uuid": uuid,
        "generations": generations,
        "is_reasoning_complete": [True] * count,
        "finish_reasons": None,
        "correctness_math_verify": [text == RIGHT for text in generations] if count else [],
        **columns,
    }


ROWS = [
    row("p", [RIGHT, WRONG]),
    row("q", [RIGHT, RIGHT + " ", "<think>\nFor ever"], is_reasoning_complete=[True, False, False]),
    row("r", [RIGHT, WRONG], finish_reasons=["length", "stop"]),
    row("s", []),
    row("t", [RIGHT, WRONG], problem=" "),
    row("u", [RIGHT], answer=None),
    row("v", None),
    row("w", [None, "I do not know."]),
    row("x", [RIGHT, RIGHT]),
]
REASONS = {
    ("p", 1): "incorrect",
    ("q", 1): "truncated",
    ("q", 2): "truncated",
    ("r", 0): "truncated",
    ("r", 1): "incorrect",
    ("s", 0): "generationMissing",
    ("t", 0): "promptMissing",
    ("t", 1): "promptMissing",
    ("u", 0): "answerMissing",
    ("v", 0): "generationMissing",
    ("w", 0): "noAnswer",
    ("w", 1): "noAnswer",
    ("x", 1): "duplicate",
}


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    write(tmp_path / "rows.jsonl", ROWS)
    return StageContext(Volume(tmp_path), Reporter("filter", "generations"))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def contract(source: dict[str, Any] | None = None, **parameters: Any) -> FilterContract:
    return FilterContract(
        output="filter",
        input=RowSource.model_validate({"uri": "rows.jsonl", **(source or {})}),
        filter=FilterParameters(**{"verify_timeout_seconds": 3, **parameters}),
    )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kept(directory: Path) -> dict[tuple[str, int], str]:
    """The texts that were kept."""
    rows = read(directory / "filter" / "kept.jsonl")
    return {(one["uuid"], one["generation"]): one["messages"][1]["content"] for one in rows}


def rejected(directory: Path) -> dict[tuple[str, int], str]:
    """The reasons of what was not."""
    return {(one["uuid"], one["generation"]): one["reason"] for one in read(directory / "filter" / "rejects.jsonl")}


def write_parquet(directory: Path) -> None:
    (directory / "rows").mkdir()
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table.slice(0, 4), directory / "rows" / "a.parquet", row_group_size=3)
    pq.write_table(table.slice(4), directory / "rows" / "b.parquet")


@pytest.mark.parametrize("uri", ["rows.jsonl", "rows"])
def test_every_generation_is_kept_or_rejected_with_a_reason(context: StageContext, tmp_path: Path, uri: str) -> None:
    write_parquet(tmp_path)
    result = filter_stage.run(contract({"uri": uri}), context)
    assert kept(tmp_path) == {("p", 0): RIGHT, ("q", 0): RIGHT, ("x", 0): RIGHT}
    assert rejected(tmp_path) == REASONS
    counts = dict(result.counts)
    assert (counts.pop("rows"), counts.pop("generations"), counts.pop("kept")) == (9, 16, 3)
    assert counts == {f"rejected.{reason}": list(REASONS.values()).count(reason) for reason in REASONS.values()}
    assert result.metrics == {"acceptanceRate": 4 / 16}


def test_a_reject_names_its_row(context: StageContext, tmp_path: Path) -> None:
    filter_stage.run(contract(), context)
    positions = {
        one["uuid"]: one["position"] for one in read(tmp_path / "filter" / "rejects.jsonl") if one["uuid"] < "w"
    }
    assert positions == {"p": 0, "q": 1, "r": 2, "s": 3, "t": 4, "u": 5, "v": 6}


def test_truncated_generations_may_be_verified_like_others(context: StageContext, tmp_path: Path) -> None:
    filter_stage.run(contract(on_truncated="keep"), context)
    assert {("r", 0), ("q", 1)} <= kept(tmp_path).keys()
    assert rejected(tmp_path)["q", 2] == "noAnswer"


def test_a_recorded_verdict_is_trusted(tmp_path: Path) -> None:
    generations = [WRONG, RIGHT, RIGHT + " ", RIGHT + "  "]
    write(tmp_path / "rows.jsonl", [row("p", generations, correctness_math_verify=[True, False, None])])
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    filter_stage.run(contract(verifier="recorded"), context)
    assert kept(tmp_path) == {("p", 0): WRONG}
    assert rejected(tmp_path) == {("p", 1): "incorrect", ("p", 2): "noVerdict", ("p", 3): "noVerdict"}


def test_another_column_may_hold_the_verdicts(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", [row("p", [RIGHT, WRONG], correctness_llama=[False, True])])
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    filter_stage.run(contract({"correctnessColumn": "correctness_llama"}, verifier="recorded"), context)
    assert kept(tmp_path) == {("p", 1): WRONG}


def test_without_a_verifier_all_that_came_to_its_end_is_kept(context: StageContext, tmp_path: Path) -> None:
    filter_stage.run(contract(verifier="none"), context)
    assert kept(tmp_path).keys() == {("p", 0), ("p", 1), ("q", 0), ("r", 1), ("w", 1), ("x", 0)}


def test_a_conversation_is_one_generation(tmp_path: Path) -> None:
    def conversation(uuid: str, *messages: tuple[str, str]) -> dict[str, Any]:
        said = [{"role": role, "content": content} for role, content in messages]
        return {"problem": f"the problem {uuid}", "answer": "0.5", "messages": said}

    rows = [
        conversation("p", ("system", "Think."), ("user", "another wording"), ("assistant", RIGHT)),
        conversation("q", ("user", "the problem"), ("assistant", WRONG)),
        conversation("r", ("user", "the problem")),
        conversation("s", ("user", "1"), ("assistant", RIGHT), ("user", "2"), ("assistant", RIGHT)),
    ]
    write(tmp_path / "rows.jsonl", rows)
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    result = filter_stage.run(contract({"messagesColumn": "messages"}), context)
    (only,) = read(tmp_path / "filter" / "kept.jsonl")
    assert only["messages"] == [
        {"role": "user", "content": "the problem p"},
        {"role": "assistant", "content": RIGHT},
    ]
    assert result.counts["rejected.incorrect"] == 1
    assert result.counts["rejected.generationMissing"] == 2


def test_rows_without_a_uuid_are_told_apart_by_their_problem(tmp_path: Path) -> None:
    rows = [{"problem": text, "answer": "0.5", "generations": [RIGHT]} for text in ("a", "b", "b")]
    write(tmp_path / "rows.jsonl", rows)
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    result = filter_stage.run(contract(), context)
    assert (result.counts["kept"], result.counts["rejected.duplicate"]) == (2, 1)


def test_a_limit_counts_rows_over_all_files(context: StageContext, tmp_path: Path) -> None:
    write_parquet(tmp_path)
    result = filter_stage.run(contract({"uri": "rows", "limit": 5}), context)
    assert result.counts["rows"] == 5
    assert {uuid for uuid, _ in kept(tmp_path) | rejected(tmp_path)} == {"p", "q", "r", "s", "t"}


def test_keep_and_decontamination_are_for_rows_too(context: StageContext, tmp_path: Path) -> None:
    (tmp_path / "benchmark.jsonl").write_text('{"problem": "The problem P."}\n')
    benchmarks = Decontamination(benchmarks=(ProblemSet(uri="benchmark.jsonl"),))
    result = filter_stage.run(
        contract(verifier="none", on_truncated="keep", keep="shortest", decontamination=benchmarks), context
    )
    assert result.counts["rejected.contaminated"] == 2
    assert result.counts["rejected.notKept"] == 2
    assert kept(tmp_path).keys() == {("q", 0), ("r", 1), ("w", 1), ("x", 0)}


@pytest.mark.parametrize("entry", [filter_stage.check, filter_stage.run])
@pytest.mark.parametrize(
    ("source", "parameters", "named"),
    [
        ({"generationsColumn": "solutions"}, {}, "'solutions' (generationsColumn)"),
        ({"completeColumn": "complete"}, {}, "'complete' (completeColumn)"),
        ({"uuidColumn": "id"}, {}, "'id' (uuidColumn)"),
        ({"messagesColumn": "messages"}, {}, "'messages' (messagesColumn)"),
        ({"correctnessColumn": "right"}, {"verifier": "recorded"}, "'right' (correctnessColumn)"),
    ],
)
def test_a_missing_column_is_named_with_those_that_exist(
    context: StageContext, tmp_path: Path, entry: Any, source: dict[str, Any], parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(WrongInput) as refusal:
        entry(contract(source, **parameters), context)
    assert refusal.value.reason == "ColumnMissing"
    assert named in refusal.value.message
    assert "it has problem, answer, uuid, generations" in refusal.value.message
    assert not (tmp_path / "filter.partial").exists()


def test_no_row_at_all_is_wrong_input(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), tmp_path / "rows.parquet")
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    with pytest.raises(WrongInput) as refusal:
        filter_stage.check(contract({"uri": "rows.parquet"}), context)
    assert refusal.value.reason == "EmptySource"


@pytest.mark.parametrize("source", ["generate", {"uri": "rows.jsonl", "messagesColumn": "messages"}])
def test_recorded_verdicts_are_those_of_a_list_of_generations(source: Any) -> None:
    with pytest.raises(ValidationError, match="recorded needs rows with correctnessColumn"):
        FilterContract.model_validate({"output": "filter", "input": source, "filter": {"verifier": "recorded"}})


def test_what_is_kept_says_where_it_is_from(context: StageContext, tmp_path: Path) -> None:
    result = filter_stage.run(contract(), context)
    card = (tmp_path / "filter" / "dataset" / "README.md").read_text()
    assert "Reasoning of the rows in `rows.jsonl`" in card
    assert "| rows | 9 |" in card
    assert result.artifact is not None
    assert open_artifact(context.volume, result.artifact)[1].parameters["input"]["uri"] == "rows.jsonl"  # type: ignore[call-overload,index]


def test_the_report_counts_every_generation_by_its_characters(context: StageContext, tmp_path: Path) -> None:
    filter_stage.run(contract(), context)
    report = json.loads((tmp_path / "filter" / "report.json").read_text())
    _, lengths = report["charts"]
    assert lengths["title"] == "Acceptance by length of the answer in characters"
    right, others = (sum(bar["parts"][place] for bar in lengths["bars"]) for place in (0, 1))
    assert (right, others) == (4, 12)


@pytest.mark.parametrize(("column", "source"), [("source", {}), ("contest", {"sourceColumn": "contest"})])
def test_the_report_shows_the_acceptance_of_each_source(tmp_path: Path, column: str, source: dict[str, str]) -> None:
    write(tmp_path / "rows.jsonl", [row("p", [RIGHT, WRONG], **{column: "olympiads"}), row("q", [RIGHT])])
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    filter_stage.run(contract(source), context)
    (*_, by_source) = json.loads((tmp_path / "filter" / "report.json").read_text())["charts"]
    assert by_source["title"] == "Acceptance by source"
    assert [(bar["label"], bar["parts"]) for bar in by_source["bars"]] == [
        ("olympiads", [1, 1]),
        ("without a source", [1, 0]),
    ]
    assert {one["uuid"]: one["source"] for one in read(tmp_path / "filter" / "kept.jsonl")} == {
        "p": "olympiads",
        "q": None,
    }


def test_progress_counts_rows(context: StageContext) -> None:
    filter_stage.run(contract(), context)
    progress = context.reporter.snapshot()
    assert (progress.done, progress.total, progress.unit) == (9, 9, "rows")


def test_a_stage_that_was_killed_goes_on_to_the_same_artifact(tmp_path: Path) -> None:
    # Every hundredth answer is one that only math-verify can tell, so that it takes a moment.
    (tmp_path / "rows").mkdir()
    for part in range(3):
        rows = [
            row(f"{part}-{number}", [f"\\boxed{{{number % 9}}}", f"\\boxed{{{number}x}}" if number % 50 == 0 else "?"])
            for number in range(1_500)
        ]
        write(tmp_path / "rows" / f"{part}.jsonl", [{**one, "answer": "7"} for one in rows])
    # A machine that others use must not turn an answer into a timeout.
    patient = contract({"uri": "rows"}, verify_timeout_seconds=60)
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    undisturbed = filter_stage.run(patient, context)
    assert undisturbed.counts["generations"] == 9_000
    shutil.rmtree(tmp_path / "filter")
    rejects = tmp_path / "filter.partial" / "rejects.jsonl"
    for size in (200_000, 700_000):
        code = end_stage(tmp_path, patient, rejects, size, signal.SIGKILL)
        assert code == -signal.SIGKILL
    assert filter_stage.run(patient, context) == undisturbed


@pytest.mark.parametrize(("first", "reason"), [("0.6", "NothingAccepted"), ("0.5", "AcceptanceRateTooLow")])
def test_answers_that_are_corrected_after_a_refusal_are_judged_anew(
    context: StageContext, tmp_path: Path, first: str, reason: str
) -> None:
    write(tmp_path / "rows.jsonl", [row("p", [RIGHT], answer=first), row("q", [RIGHT], answer="0.6")])
    instruction = r"Correct the rows, which are read again from rows\.jsonl when the stage runs again"
    with pytest.raises(WrongInput, match=instruction) as refusal:
        filter_stage.run(contract(min_acceptance_rate=0.9), context)
    assert refusal.value.reason == reason
    assert "incorrect" in (tmp_path / "filter.partial" / "rejects.jsonl").read_text()
    write(tmp_path / "rows.jsonl", [row("p", [RIGHT]), row("q", [RIGHT])])
    assert filter_stage.run(contract(min_acceptance_rate=0.9), context).counts["kept"] == 2
    assert rejected(tmp_path) == {}


def test_rows_that_change_while_the_stage_is_away_are_judged_anew(context: StageContext, tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        filter_stage.run(contract(), StageContext(context.volume, InterruptingEnd()))
    write(tmp_path / "rows.jsonl", [one | {"answer": "0.7"} for one in ROWS[:-1]] + ROWS[-1:])
    filter_stage.run(contract(), context)
    assert list(kept(tmp_path)) == [("x", 0)]


def test_rows_that_were_replaced_are_filtered_beside_what_was_made_of_the_others(
    context: StageContext, tmp_path: Path
) -> None:
    first = run_stage(filter_stage, contract(), context)
    write(tmp_path / "rows.jsonl", [one | {"answer": "0.7"} for one in ROWS[:-1]] + ROWS[-1:])
    second = run_stage(filter_stage, contract(), context)
    assert (first.counts["kept"], second.counts["kept"]) == (3, 1)
    assert second.artifact is not None
    assert second.artifact.uri.startswith("filter-")
    open_artifact(context.volume, second.artifact)
    write(tmp_path / "rows.jsonl", ROWS)
    assert run_stage(filter_stage, contract(), context).artifact == first.artifact


def test_work_on_rows_that_were_replaced_begins_anew(context: StageContext, tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark.jsonl"
    write(benchmark, [{"problem": "something else entirely"}])
    problems = ProblemSet(uri="benchmark.jsonl")
    asked = contract(decontamination=Decontamination(benchmarks=(problems,), ngram=3))
    with pytest.raises(Terminated):
        run_stage(filter_stage, asked, StageContext(context.volume, InterruptingEnd()))
    write(benchmark, [{"problem": "the problem p"}])
    result = run_stage(filter_stage, asked, context)
    assert result.counts["rejected.contaminated"] == 2
    assert [each.name for each in result.inputs] == ["rows", "benchmark"]
