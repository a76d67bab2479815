"""What a row asks: by a template, choices, a conversation; and why a row cannot be asked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distill_runtime.contract import PromptSource
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.choices import Choices
from distill_runtime.sources.problems import REFUSALS, Problem, ProblemReader

Columns = dict[str, Any]
TEMPLATE: Columns = {"problem_template": "{context}\n{problem} Say \\boxed{{answer}}."}
CHOICES: Columns = {"choice_columns": ["options"]}
APART: Columns = {
    "prompt_column": "Question",
    "answer_column": "Correct",
    "choice_columns": ["Correct", "Wrong 1", "Wrong 2", "Wrong 3"],
    "choice_order": "shuffled",
}
MESSAGES: Columns = {"messages_column": "messages"}
ROW = {"problem": "p", "answer": "a"}


def read(columns: Columns, row: dict[str, Any]) -> Problem | str:
    return ProblemReader(PromptSource.model_validate({"uri": "rows.jsonl", **columns})).read(row)


def say(*messages: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]


@pytest.mark.parametrize(
    ("columns", "row", "problem"),
    [
        ({}, ROW, Problem("p", "a")),
        (TEMPLATE, {**ROW, "context": "{problem} {c}"}, Problem("{problem} {c}\np Say \\boxed{answer}.", "a")),
        (TEMPLATE, {**ROW, "context": ""}, Problem("\np Say \\boxed{answer}.", "a")),
        (TEMPLATE, {**ROW, "context": 0.5}, Problem("0.5\np Say \\boxed{answer}.", "a")),
        (CHOICES, {"problem": "p", "options": ["x", 2], "answer": "B"}, Problem("p\n\nA) x\nB) 2", "B")),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": 1}, Problem("p\n\nA) x\nB) y", "B")),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": "(b)"}, Problem("p\n\nA) x\nB) y", "B")),
        (CHOICES, {"problem": "p", "options": ["x ", "y\n"], "answer": " y"}, Problem("p\n\nA) x\nB) y", "B")),
        (CHOICES, {"problem": "p", "options": ["3", "4", "5"], "answer": "4"}, Problem("p\n\nA) 3\nB) 4\nC) 5", "B")),
        (CHOICES, {"problem": "p", "options": [3, 4, 5], "answer": 4}, Problem("p\n\nA) 3\nB) 4\nC) 5", "B")),
        (CHOICES, {"problem": "p", "options": ["1", "2"], "answer": "1"}, Problem("p\n\nA) 1\nB) 2", "A")),
        (
            {"choice_columns": ["answer", "wrong"]},
            {"problem": "p", "answer": "B", "wrong": "A"},
            Problem("p\n\nA) B\nB) A", "A"),
        ),
        (
            {"choice_columns": ["wrong", "answer"]},
            {"problem": "p", "answer": 0, "wrong": 1},
            Problem("p\n\nA) 1\nB) 0", "B"),
        ),
        (
            {**CHOICES, "problem_template": "{choices}\n{problem}"},
            {"problem": "{choices}", "options": ["x", "y"], "answer": "A"},
            Problem("A) x\nB) y\n{choices}", "A"),
        ),
        (MESSAGES, {"answer": "a", "messages": say(("system", "s"), ("user", "p"))}, Problem("p", "a")),
        (MESSAGES, {"answer": "a", "messages": say(("user", "p"), ("assistant", "a"))}, Problem("p", "a")),
        (MESSAGES, {"answer": "a", "messages": say(("user", [{"type": "text", "text": "p"}]))}, Problem("p", "a")),
        ({"reference_pattern": r"#### (.+)"}, {"problem": "p", "answer": "1+1 #### 3\n#### 2 "}, Problem("p", "2")),
        ({"reference_answers": "none"}, {"problem": "p"}, Problem("p", "")),
        (
            {**CHOICES, "reference_answers": "none"},
            {"problem": "p", "options": ["x", "y"]},
            Problem("p\n\nA) x\nB) y", ""),
        ),
        ({"reference_pattern": r"\d+"}, {"problem": "p", "answer": "from 1 to 2"}, Problem("p", "2")),
    ],
)
def test_a_row_becomes_a_problem(columns: Columns, row: dict[str, Any], problem: Problem) -> None:
    assert read(columns, row) == problem


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        ({}, {"answer": "a"}, "promptMissing"),
        ({}, {"problem": "p"}, "answerMissing"),
        (TEMPLATE, ROW, "promptMissing"),
        (TEMPLATE, {**ROW, "context": ["c"]}, "promptMissing"),
        (TEMPLATE, {"problem": " ", "context": "", "answer": "a"}, "promptMissing"),
        (CHOICES, {**ROW, "options": "x"}, "choicesMissing"),
        (CHOICES, {**ROW, "options": ["x"]}, "choicesMissing"),
        (CHOICES, {**ROW, "options": ["x", None]}, "choicesMissing"),
        (CHOICES, {**ROW, "options": ["x"] * 11}, "choicesMissing"),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": "z"}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": "C"}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": 2}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": -1}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["B", "A"], "answer": "A"}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": [1, 2, 3], "answer": 1}, "answerUnmatched"),
        ({"choice_columns": ["answer", "wrong"]}, {"problem": "p", "answer": "x", "wrong": "x"}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["x", "x"], "answer": "A"}, "answerUnmatched"),
        (CHOICES, {"problem": "p", "options": ["x", "y"], "answer": True}, "answerMissing"),
        (MESSAGES, {"answer": "a", "messages": "p"}, "promptMissing"),
        (MESSAGES, {"answer": "a", "messages": [None, 1]}, "promptMissing"),
        (MESSAGES, {"answer": "a", "messages": say(("user", [{"type": "image_url"}]))}, "promptMissing"),
        (MESSAGES, {"answer": "a", "messages": say(("user", "p"), ("assistant", "a"), ("user", "q"))}, "severalTurns"),
        ({"reference_pattern": r"#### (.+)"}, ROW, "answerMissing"),
        ({"reference_pattern": r"(x)?a"}, ROW, "answerMissing"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why(columns: Columns, row: dict[str, Any], reason: str) -> None:
    assert read(columns, row) == reason
    assert reason in REFUSALS


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "content"]), inner),
    max_leaves=8,
)


@given(st.sampled_from([{}, TEMPLATE, CHOICES, APART, MESSAGES]), _VALUES, _VALUES, _VALUES)
def test_a_value_of_any_type_is_a_problem_or_a_reason(columns: Columns, first: Any, second: Any, third: Any) -> None:
    names = ["problem", "context", "options", "messages", "Question", "Correct", "Wrong 1", "Wrong 2", "Wrong 3"]
    row = {name: (first, second)[number % 2] for number, name in enumerate(names)}
    found = read(columns, row | {"answer": third})
    assert isinstance(found, Problem) or found in REFUSALS


def test_choices_are_shuffled_by_what_they_are() -> None:
    """Not by where the right one was, which is the same place in every row; each letter gets its share."""
    letters = []
    for number in range(200):
        wrong = {f"Wrong {place}": f"{number} or {place}" for place in (1, 2, 3)}
        problem = read(APART, {"Question": f"q{number}", "Correct": str(number), **wrong})
        assert isinstance(problem, Problem)
        assert f"{problem.answer}) {number}" in problem.text.splitlines()
        letters.append(problem.answer)
    assert all(30 < letters.count(letter) < 70 for letter in "ABCD")
    given = ("x", "y", "z")
    assert Choices(given).shuffled("p") == Choices(given[::-1]).shuffled("p")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"problem_template": "Solve it."}, "every problem would be the same"),
        ({"problem_template": "{problem} {answer}"}, "tells the answer"),
        ({"problem_template": "{problem} {choices}"}, "set choiceColumns"),
        ({"problem_template": "{problem}", "messages_column": "m"}, "set one of them"),
        ({"choice_order": "shuffled"}, "choiceOrder shuffles choiceColumns"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(columns: Columns, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PromptSource.model_validate({"uri": "rows.jsonl", **columns})


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(WrongInput, match="referencePattern") as refusal:
        read({"reference_pattern": "(("}, ROW)
    assert refusal.value.reason == "InvalidPattern"
