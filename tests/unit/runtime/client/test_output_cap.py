import random
from dataclasses import replace

import pytest

from distill_runtime.client.output_cap import OutputCapDetector
from distill_runtime.client.values import Answer, Failure, Reply, Request
from distill_runtime.foundation.errors import WrongInput

REQUEST = Request("0" * 16, {"max_tokens": 1000}, {})


def answer(tokens: int | None, finish_reason: str = "length", prompt_tokens: int | None = 10) -> Answer:
    return Answer(REQUEST, Reply("c", None, finish_reason, prompt_tokens, tokens, "m"), "http://a/v1", 1, 1.0)


def observe(*answers: Answer | Failure) -> None:
    detector = OutputCapDetector()
    for each in answers:
        detector.observe(each)


def test_answers_cut_at_one_length_below_what_was_asked_show_a_cap() -> None:
    finished = [answer(tokens, "stop") for tokens in range(100, 400)]
    with pytest.raises(
        WrongInput, match="http://a/v1 cuts answers at 512 tokens, although 1000 are asked for"
    ) as error:
        observe(*finished, *[answer(512)] * 5)
    assert error.value.reason == "EndpointCapsOutput"


def test_a_cap_on_prompt_and_answer_together_shows_in_their_sum() -> None:
    cut = [answer(512 - prompt, prompt_tokens=prompt) for prompt in (30, 12, 45, 7, 21)]
    with pytest.raises(WrongInput, match="cuts prompt and answer at 512 tokens"):
        observe(*cut)


def test_a_cap_between_the_first_request_and_that_for_a_longer_answer_shows() -> None:
    request = Request("0" * 16, {"max_tokens": 100}, {}, body_if_truncated={"max_tokens": 1000})
    longer = replace(answer(512), request=request, discarded=answer(100).reply)
    with pytest.raises(WrongInput, match="cuts answers at 512 tokens, although 1000 are asked for"):
        observe(*[longer] * 5)


@pytest.mark.parametrize(
    "answers",
    [
        [answer(1000)] * 50,
        [answer(512)] * 4,
        [answer(512, "stop")] * 50,
        [answer(None)] * 50,
        [*[answer(512)] * 4, answer(513, "stop"), *[answer(512)] * 50],
        [answer(tokens) for tokens in random.Random(0).sample(range(100, 900), 50)],
        [answer(300, "stop")] * 10_000 + [answer(512)] * 50,
        [Failure(REQUEST, "refused", "no", "http://a/v1", 1)] * 50,
    ],
    ids=[
        "by maxTokens", "too few", "not cut", "no counts", "longer ones exist", "other lengths", "rare", "failures"
    ],
)  # fmt: skip
def test_other_ends_of_answers_show_none(answers: list[Answer | Failure]) -> None:
    observe(*answers)
