"""Who answers which generation."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.contract import TeacherParameters
from distill_runtime.generation.teachers import teacher_of


def teachers(*weights: int) -> TeacherParameters:
    models = [{"model": f"m{number}", "endpoints": ["http://a"], "weight": each} for number, each in enumerate(weights)]
    first, *others = models
    return TeacherParameters.model_validate({**first, "additionalModels": others})


@given(weights=st.lists(st.integers(1, 5), min_size=1, max_size=5), uuid=st.text(max_size=5))
def test_each_answers_as_often_as_its_weight_says(weights: list[int], uuid: str) -> None:
    dealt = Counter(teacher_of(teachers(*weights), uuid, generation) for generation in range(sum(weights)))
    assert [dealt[number] for number in range(len(weights))] == weights


def test_with_one_generation_a_prompt_all_have_their_shares_over_the_prompts() -> None:
    dealt = Counter(teacher_of(teachers(2, 1, 1), f"prompt {number}", 0) for number in range(4000))
    assert [round(dealt[number] / 1000) for number in range(3)] == [2, 1, 1]
