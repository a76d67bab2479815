"""Placeholders in templates, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.contract.template import fill_template, template_names


@pytest.mark.parametrize(
    ("template", "names", "text"),
    [
        ("{problem}", ("problem",), "<problem>"),
        ("{context}\n\n{problem}, {context}", ("context", "problem"), "<context>\n\n<problem>, <context>"),
        ("{Correct Answer}", ("Correct Answer",), "<Correct Answer>"),
        ("{问题}", ("问题",), "<问题>"),
        (r"\boxed{} \frac{1}{2} {\bf a}", (), r"\boxed{} \frac{1}{2} {\bf a}"),
        (r"\boxed{{answer}} of {problem}", ("problem",), r"\boxed{answer} of <problem>"),
        (r"\sqrt{\frac{1}{2}}", (), r"\sqrt{\frac{1}{2}}"),
        ("{", (), "{"),
        ("{a\nb}", ("a\nb",), "<a\nb>"),
    ],
)
def test_names_in_braces_are_placeholders(template: str, names: tuple[str, ...], text: str) -> None:
    assert template_names(template) == names
    assert fill_template(template, {name: f"<{name}>" for name in names}) == text


@given(st.text(alphabet="{}ab\\1 ", max_size=60), st.text(alphabet="{}ab\\", max_size=20))
def test_what_is_put_in_is_not_looked_at_again(template: str, value: str) -> None:
    names = template_names(template)
    marked = fill_template(template, dict.fromkeys(names, "\0"))
    assert fill_template(template, dict.fromkeys(names, value)) == marked.replace("\0", value)
