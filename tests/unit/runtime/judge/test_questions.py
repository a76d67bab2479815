"""What a judge is asked."""

import pytest
from pydantic import ValidationError

from distill_runtime.contract import FilterParameters, GenerateContract, Judge
from distill_runtime.judge.questions import Case, is_answered, judge_request

ENDPOINT = {"url": "http://judge/v1", "model": "judge"}


def judge(**changes: object) -> Judge:
    return Judge.model_validate({"endpoint": ENDPOINT, **changes})


def case(text: str, problem: str = "1 + 1?") -> Case:
    return Case(problem, "2", text, {"uuid": "u", "generation": 0})


def asked(judge: Judge, case: Case) -> str:
    (message,) = judge_request(judge, case).body["messages"]
    return str(message["content"])


def test_it_sees_the_problem_the_reference_answer_and_what_follows_the_reasoning() -> None:
    template = judge(prompt_template="{problem} | {reference} | {answer}")
    assert asked(template, case("<think>\n3?\n</think>\n\nIt is two. ")) == "1 + 1? | 2 | It is two."


def test_what_stands_for_a_placeholder_in_an_answer_is_text() -> None:
    template = judge(prompt_template="{problem} | {reference} | {answer}")
    assert asked(template, case("{reference}", problem="{answer}?")) == "{answer}? | 2 | {reference}"


def test_of_a_book_it_sees_the_end() -> None:
    text = asked(judge(prompt_template="{reference}{answer}"), case("a" * 30_000 + "It is two."))
    assert text.startswith("2[…]a")
    assert text.endswith("It is two.")
    assert len(text) < 20_100


def test_the_same_question_has_the_same_key_whoever_answered_it() -> None:
    first, second = case("two"), Case("1 + 1?", "2", "<think>hm</think>two", {"uuid": "v", "generation": 3})
    assert judge_request(judge(), first).key == judge_request(judge(), second).key
    assert judge_request(judge(temperature=0.5), first).key != judge_request(judge(), first).key


@pytest.mark.parametrize(("text", "answered"), [("two", True), ("<think>two", False), ("<think>two</think>\n", False)])
def test_only_what_follows_the_reasoning_can_be_judged(text: str, answered: bool) -> None:
    assert is_answered(text) is answered


@pytest.mark.parametrize("template", ["{answer}", "{problem} {reference}"])
def test_a_template_without_answer_or_reference_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match="promptTemplate must have"):
        judge(prompt_template=template)


def test_where_everything_is_accepted_there_is_nothing_to_judge() -> None:
    with pytest.raises(ValidationError, match="judge must not be set with the verifier none"):
        FilterParameters(verifier="none", judge=judge())


@pytest.mark.parametrize(("asked", "forecast"), [(None, True), (judge(), False)])
def test_rules_alone_forecast_nothing_where_a_judge_has_the_last_word(asked: Judge | None, forecast: bool) -> None:
    teacher = {"endpoints": ["http://teacher/v1"], "model": "r1"}
    filtering = FilterParameters(min_acceptance_rate=0.3, judge=asked)
    contract = GenerateContract.model_validate(
        {"output": "out", "prompts": {"uri": "p.jsonl"}, "teacher": teacher, "filter": filtering}
    )
    assert (contract.forecast is not None) is forecast
