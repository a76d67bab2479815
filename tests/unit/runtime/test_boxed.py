r"""The last `\boxed{}` of an answer, whatever the model wrote around it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.verification.boxed import last_boxed

plain = st.text(alphabet=st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), max_size=12)
escapes = st.sampled_from([r"\{", r"\}", r"\frac", r"\\", r"\,"])
balanced = st.recursive(
    st.one_of(plain, escapes),
    lambda inner: st.lists(st.one_of(plain, escapes, inner.map(lambda text: "{" + text + "}")), max_size=4).map(
        "".join
    ),
    max_leaves=12,
)


@given(before=balanced, content=balanced, after=balanced)
def test_balanced_content_comes_back_whole(before: str, content: str, after: str) -> None:
    text = f"{before} \\boxed{{{content}}} {after}"
    assert last_boxed(text) == (content.strip() or None)


@given(st.text(alphabet="\\{}boxed 1", max_size=60))
def test_an_answer_is_a_balanced_part_of_the_text(text: str) -> None:
    answer = last_boxed(text)
    assert answer is None or f"boxed{{{answer}}}" in text.replace(" ", "") or answer in text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} or rather \boxed{2}", "2"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\left\{1, 2\right.}", r"\left\{1, 2\right."),
        (r"\boxed {5}", "5"),
        (r"\\boxed{5}", "5"),
        (r"\boxed{3} and then \boxed{4", "3"),
        (r"{ a stray brace, \boxed{6}", "6"),
        (r"a stray } brace, \boxed{6}", "6"),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed 5", None),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_last_boxed(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


def test_boxes_that_never_close_cost_no_more_than_other_text() -> None:
    began = time.process_time()
    assert last_boxed("\\boxed{" * 50_000) is None
    assert time.process_time() - began < 2
