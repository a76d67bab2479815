import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Addition, Faults, Outcome, choose_outcome, choose_refusal, count_tokens, work_out

ADDITIONS = [Addition(first, second) for first in range(10, 100) for second in range(10, 100)]
two_digits = st.integers(min_value=10, max_value=99)
additions = st.builds(Addition, two_digits, two_digits)


def boxed(content: str) -> str:
    match = re.search(r"\\boxed\{(\d+)\}", content)
    assert match
    return match[1]


@given(additions)
def test_a_right_answer_boxes_the_sum(addition: Addition) -> None:
    answer = work_out(addition, Outcome.RIGHT, max_tokens=1000)
    assert boxed(answer.content) == addition.answer
    assert answer.finish_reason == "stop"


@given(additions)
def test_a_wrong_answer_boxes_another_number_and_looks_finished(addition: Addition) -> None:
    answer = work_out(addition, Outcome.WRONG, max_tokens=1000)
    assert boxed(answer.content) != addition.answer
    assert answer.finish_reason == "stop"


@given(additions, st.integers(min_value=1, max_value=300))
def test_a_truncated_answer_reasons_until_it_is_cut_off(addition: Addition, max_tokens: int) -> None:
    answer = work_out(addition, Outcome.TRUNCATED, max_tokens)
    assert answer.finish_reason == "length"
    assert answer.content == ""
    assert answer.tokens == count_tokens(answer.reasoning) == max_tokens


@given(additions, st.integers(min_value=1, max_value=40))
def test_no_answer_is_longer_than_max_tokens(addition: Addition, max_tokens: int) -> None:
    whole = work_out(addition, Outcome.RIGHT, max_tokens=1000)
    answer = work_out(addition, Outcome.RIGHT, max_tokens)
    assert answer.tokens == count_tokens(answer.reasoning) + count_tokens(answer.content) <= max_tokens
    assert (answer.finish_reason == "length") == (whole.tokens > max_tokens)


@given(additions)
def test_a_problem_is_found_in_a_longer_prompt(addition: Addition) -> None:
    assert Addition.find(f"Think first.\n{addition.problem} Answer in a box.") == addition


@pytest.mark.parametrize("text", ["", "What is 5 + 12?", "What is 12 - 10?", "What is 123 + 10?"])
def test_other_questions_are_not_taken_for_additions(text: str) -> None:
    assert Addition.find(text) is None


def test_outcomes_come_at_their_rates() -> None:
    faults = Faults(wrong=0.15, truncated=0.05)
    outcomes = [choose_outcome(faults, 0, addition, 0) for addition in ADDITIONS]
    assert outcomes.count(Outcome.WRONG) / len(outcomes) == pytest.approx(0.15, abs=0.015)
    assert outcomes.count(Outcome.TRUNCATED) / len(outcomes) == pytest.approx(0.05, abs=0.01)


def test_outcomes_depend_on_both_seeds() -> None:
    faults = Faults(wrong=0.5)

    def outcomes(seed: int, request_seed: int) -> list[Outcome]:
        return [choose_outcome(faults, seed, addition, request_seed) for addition in ADDITIONS[:100]]

    assert outcomes(0, 0) == outcomes(0, 0)
    assert outcomes(0, 0) != outcomes(1, 0)
    assert outcomes(0, 0) != outcomes(0, 1)


def test_a_refused_request_is_answered_if_it_is_repeated() -> None:
    faults = Faults(too_many_requests=0.3, unavailable=0.3)
    for addition in ADDITIONS[:200]:
        assert None in [choose_refusal(faults, 0, addition, 0, attempt) for attempt in range(50)]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"wrong": -0.1}, "wrong is -0.1"),
        ({"truncated": 1.1}, "truncated is 1.1"),
        ({"wrong": 0.6, "truncated": 0.5}, "cannot be both"),
        ({"too_many_requests": 0.5, "unavailable": 0.5}, "no request would ever be answered"),
    ],
)
def test_impossible_shares_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**shares)
