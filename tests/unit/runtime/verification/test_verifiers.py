"""The verifiers other than math-verify."""

import pytest
from pydantic import ValidationError

from distill_runtime.contract import FilterParameters, Protocol
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.verification import Question, Verifier, open_verifier, verify_all


def reasons(verifier: Verifier, pairs: list[tuple[str, str]]) -> list[str]:
    questions = [Question(None, reference, text) for reference, text in pairs]
    return [verdict.reason for _, verdict in verify_all(verifier, questions, 3, workers=1)]


def test_exact() -> None:
    pairs = [
        ("Paris", "<think>Rome?</think>\n Paris "),
        ("Paris", "<think>Paris</think>\nIt is Paris"),
        ("1 / 2", r"so \boxed{1\n/  2}".replace(r"\n", "\n")),
        ("0.5", r"\boxed{\frac{1}{2}}"),
        ("Paris", "<think>Paris</think>"),
    ]
    expected = ["correct", "incorrect", "correct", "incorrect", "noAnswer"]
    assert reasons(open_verifier(FilterParameters(verifier="exact")), pairs) == expected


def test_regex() -> None:
    verifier = open_verifier(FilterParameters(verifier="regex", answer_pattern=r"Answer: (\w+)|#(a+)+$"))
    pairs = [
        ("B", "Answer: A. No. Answer: B"),
        ("A", "Answer: A. No. Answer: B"),
        ("A", "<think>Answer: A</think> I do not know"),
        ("A", "#" + "a" * 60 + "!"),
        ("B", "Answer: B"),
    ]
    assert reasons(verifier, pairs) == ["correct", "incorrect", "noAnswer", "timeout", "correct"]


def test_regex_without_a_group_is_the_whole_match() -> None:
    verifier = open_verifier(FilterParameters(verifier="regex", answer_pattern=r"[A-E]$"))
    assert reasons(verifier, [("C", "it is C"), ("C", "it is D")]) == ["correct", "incorrect"]


def test_none_accepts_everything_but_nothing() -> None:
    verifier = open_verifier(FilterParameters(verifier="none"))
    assert reasons(verifier, [("5", "six"), ("5", "<think>five</think>")]) == ["correct", "noAnswer"]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(WrongInput, match="not a valid regular expression") as refusal:
        open_verifier(FilterParameters(verifier="regex", answer_pattern="(("))
    assert refusal.value.reason == "InvalidPattern"


@pytest.mark.parametrize(
    "parameters",
    [
        {"verifier": "regex"},
        {"verifier": "python"},
        {"answer_pattern": "A"},
        {"verifier": "exact", "entry_point": "a:b"},
        {"verifier": "python", "entry_point": "a"},
        {"verifier": "exact", "tolerance": {"absolute": 1}},
    ],
)
def test_what_a_verifier_needs_is_required(parameters: dict[str, str]) -> None:
    for block in (FilterParameters, Protocol):
        with pytest.raises(ValidationError, match=r"answerPattern|entryPoint|should match pattern|tolerance"):
            block.model_validate(parameters)


@pytest.mark.parametrize("verifier", ["recorded", "none"])
def test_a_score_is_judged_by_something(verifier: str) -> None:
    with pytest.raises(ValidationError, match="verifier"):
        Protocol.model_validate({"verifier": verifier})
