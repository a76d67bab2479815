import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runtime.contract import PromptSource
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.prompts import Prompt, Survey, open_prompts, text_uuid
from distill_runtime.storage.volume import Volume


def write(directory: Path, rows: list[dict[str, Any]]) -> None:
    (directory / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(directory: Path, index: int = 0, shards: int = 1, **source: Any) -> tuple[Survey, list[Prompt]]:
    prompts = open_prompts(PromptSource(uri="prompts.jsonl", **source), Volume(directory))
    survey = prompts.survey(index, shards)
    return survey, list(prompts.read(index, shards, survey.repeated))


def test_rows_become_prompts(tmp_path: Path) -> None:
    write(tmp_path, [{"problem": "p", "answer": "a", "id": "x"}, {"problem": "q", "answer": 2, "id": 7}])
    _, prompts = read(tmp_path, uuid_column="id")
    assert prompts == [Prompt("x", "p", "a", 0), Prompt("7", "q", "2", 1)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2, "2"),
        (2.0, "2.0"),
        (-0.125, "-0.125"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (-2.5e-7, "-0.00000025"),
        (1e16, "10000000000000000"),
        (1.5e20, "150000000000000000000"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_a_number_is_written_out(tmp_path: Path, value: float, text: str) -> None:
    write(tmp_path, [{"problem": "p", "answer": value}])
    (prompt,) = read(tmp_path)[1]
    assert prompt.answer == text


def test_no_number_is_no_answer(tmp_path: Path) -> None:
    answers = [0.5, math.nan, math.inf, -math.inf]
    table = pa.table({"problem": ["p", "q", "r", "s"], "answer": pa.array(answers, pa.float64())})
    pq.write_table(table, tmp_path / "prompts.parquet")
    prompts = open_prompts(PromptSource(uri="prompts.parquet"), Volume(tmp_path))
    assert prompts.survey(0, 1).rejected == {"answerMissing": 3}


def test_a_prompt_keeps_where_it_comes_from(tmp_path: Path) -> None:
    rows = [{"problem": text, "answer": "a", "from": source} for text, source in (("p", "olympiads"), ("q", None))]
    write(tmp_path, rows)
    assert [prompt.source for prompt in read(tmp_path, source_column="from")[1]] == ["olympiads", None]
    assert [prompt.source for prompt in read(tmp_path)[1]] == [None, None]


def test_without_a_uuid_the_text_identifies_a_prompt(tmp_path: Path) -> None:
    write(tmp_path, [{"problem": "p", "answer": "a"}, {"problem": "q", "answer": "a"}, {"problem": "p", "answer": "b"}])
    survey, prompts = read(tmp_path)
    assert [prompt.text for prompt in prompts] == ["p", "q"]
    assert survey.rejected == {"duplicate": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"problem": None, "answer": "a"}, "promptMissing"),
        ({"problem": " ", "answer": "a"}, "promptMissing"),
        ({"answer": "a"}, "promptMissing"),
        ({"problem": "p", "answer": None}, "answerMissing"),
        ({"problem": "p", "answer": ""}, "answerMissing"),
        ({"problem": "p", "answer": True}, "answerMissing"),
        ({"problem": "p", "answer": ["a"]}, "answerMissing"),
    ],
)
def test_a_row_that_cannot_be_asked_is_counted_with_its_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    write(tmp_path, [{"problem": "good", "answer": "a"}, row])
    survey, prompts = read(tmp_path)
    assert (survey.rows, survey.prompts, survey.rejected) == (2, 1, {reason: 1})
    assert [prompt.text for prompt in prompts] == ["good"]


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    write(tmp_path, [{"problem": f"p{number}", "answer": "a"} for number in range(10)])
    survey, prompts = read(tmp_path, limit=3)
    assert survey.rows == 3
    assert [prompt.text for prompt in prompts] == ["p0", "p1", "p2"]


def test_a_source_in_which_no_row_can_be_asked_is_wrong_input(tmp_path: Path) -> None:
    write(tmp_path, [{"problem": "", "answer": "a"}, {"problem": "p", "answer": None}])
    with pytest.raises(
        WrongInput, match=r"1 have no problem, 1 have no answer; .* 'problem' \(promptColumn\)"
    ) as error:
        read(tmp_path)
    assert error.value.reason == "EmptySource"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"problem_template": "{contxt} {problem}"}, r"no column 'contxt' \(problemTemplate; .*has problem, answer"),
        ({"messages_column": "turns"}, r"no column 'turns' \(messagesColumn\)"),
        ({"choice_columns": ["problem", "d"]}, r"no column 'd' \(choiceColumns\[1\]\)"),
    ],
)
def test_a_column_that_makes_a_problem_must_be_there(tmp_path: Path, source: dict[str, Any], words: str) -> None:
    write(tmp_path, [{"problem": "p", "answer": "a"}])
    with pytest.raises(WrongInput, match=words) as refusal:
        read(tmp_path, **source)
    assert refusal.value.reason == "ColumnMissing"


def test_without_reference_answers_no_column_of_them_is_needed(tmp_path: Path) -> None:
    write(tmp_path, [{"problem": "p"}])
    assert read(tmp_path, reference_answers="none")[1] == [Prompt(text_uuid("p"), "p", "", 0)]


def test_without_a_prompt_column_none_is_needed(tmp_path: Path) -> None:
    write(tmp_path, [{"q": "p", "answer": "a"}])
    assert [prompt.text for prompt in read(tmp_path, problem_template="Q: {q}")[1]] == ["Q: p"]


@pytest.mark.parametrize(("parameter", "field"), [("uuid_column", "uuidColumn"), ("source_column", "sourceColumn")])
def test_a_missing_column_is_named(tmp_path: Path, parameter: str, field: str) -> None:
    write(tmp_path, [{"problem": "p", "answer": "a"}])
    with pytest.raises(WrongInput, match=rf"no column 'x' \({field}\)"):
        read(tmp_path, **{parameter: "x"})


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.sampled_from(["1", None])), min_size=1),
    shards=st.integers(1, 4),
)
def test_shards_together_ask_each_prompt_once_and_count_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, str | None]], shards: int
) -> None:
    directory = tmp_path_factory.mktemp("prompts")
    write(
        directory, [{"problem": "sure", "answer": "1"}, *({"problem": text, "answer": answer} for text, answer in rows)]
    )
    parts = [read(directory, index, shards) for index in range(shards)]
    texts = [prompt.text for _, prompts in parts for prompt in prompts]
    askable = {text for text, answer in rows if text and answer} | {"sure"}
    assert sorted(texts) == sorted(askable)
    assert sum(survey.rows for survey, _ in parts) == len(rows) + 1
    for survey, prompts in parts:
        assert survey.prompts == len(prompts)
        assert survey.rows == survey.prompts + sum(survey.rejected.values())
