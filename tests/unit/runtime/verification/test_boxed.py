r"""The last `\boxed{}` of an answer, whatever the model wrote around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.verification.boxed import boxed_answer

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
    assert boxed_answer(text) == (content.strip() or None)


@given(st.text(alphabet="\\{}boxed 1", max_size=60))
def test_an_answer_is_a_balanced_part_of_the_text(text: str) -> None:
    answer = boxed_answer(text)
    assert answer is None or answer in text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} or rather \boxed{2}", "2"),
        (r"\boxed{1} and then, \boxed{2} or $\boxed{3}$", "2, 3"),
        (r"$\boxed{(1,2)},\ \boxed{(2,1)}$", "(1,2), (2,1)"),
        (r"\boxed{a = 1} \quad \text{and} \quad \boxed{b = 2}", "a = 1, b = 2"),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
        (r"\boxed{4}, or \boxed{4}", "4"),
        ("\\boxed{4}\n\n\\boxed{5}", "5"),
        (r"\boxed{x = \boxed{7}}", "7"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\left\{1, 2\right.}", r"\left\{1, 2\right."),
        (r"\boxed {5}", "5"),
        (r"\\boxed{5}", "5"),
        (r"\boxed{1\\\}", None),
        (r"\boxed{1\\}", r"1\\"),
        (r"\boxed{\\\{1\\\\\}}", r"\\\{1\\\\\}"),
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
def test_boxed_answer(text: str, answer: str | None) -> None:
    assert boxed_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 500_000, "\\boxed{" + "\\" * 5_000_000, "\\boxed{" + "\\" * 5_000_001, "\\boxed " * 500_000],
    ids=["boxes that never close", "backslashes", "an odd number of them", "boxes that never open"],
)
def test_a_hostile_text_is_gone_through_once(text: str) -> None:
    """To try each end of each run of backslashes would take days."""
    assert boxed_answer(text) is None
