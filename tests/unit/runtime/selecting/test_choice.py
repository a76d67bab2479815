"""Which rows a selection takes: as a model of it says for any parameters, and as each rule means it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.filter_artifact import RIGHT, Verified, write_filter_artifact

from distill_runtime.contract import SelectParameters
from distill_runtime.contract.parameters import LengthBand
from distill_runtime.filtering import keys
from distill_runtime.filtering.reasons import UNJUDGED
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.texts import text_fingerprint
from distill_runtime.selecting.candidates import read_candidates
from distill_runtime.selecting.choice import FATES, choose

Fate = dict[tuple[str, int], str]


def fates(generations: list[Verified], **parameters: Any) -> Fate:
    """Select in a directory of its own, and give what becomes of each right generation."""
    with TemporaryDirectory() as directory:
        root = Path(directory)
        write_filter_artifact(root, generations)
        known = read_candidates(
            root / "filter", None, root, SelectParameters.model_validate(parameters), lambda _: None
        )
        choice = choose(known, SelectParameters.model_validate(parameters))
    right = [generation for generation in generations if generation.verdict == RIGHT]
    told = {(each.uuid, each.index): FATES[fate] for each, fate in zip(right, choice.fates, strict=True)}
    assert choice.prompts == len({uuid for (uuid, _), fate in told.items() if fate == "selected"})
    return told


def by_pass_rate(generations: list[Verified], each: Verified, parameters: SelectParameters) -> str | None:
    judged = [other.verdict for other in generations if other.uuid == each.uuid and other.verdict not in UNJUDGED]
    rate = sum(verdict in (RIGHT, "notKept", "duplicate") for verdict in judged) / len(judged)
    if rate < parameters.min_pass_rate:
        return "passRateTooLow"
    return "passRateTooHigh" if rate > parameters.max_pass_rate else None


def by_length(each: Verified, band: LengthBand | None) -> str | None:
    if band is None:
        return None
    length = each.tokens if band.unit == "tokens" else len(each.text)
    if length is None:
        return "lengthUnknown"
    return "tooShort" if length < band.min else "tooLong" if band.max and length > band.max else None


def beyond(left: list[Verified], most: int | None, value: Any, order: Any) -> set[tuple[str, int]]:
    taken: Counter[Any] = Counter()
    found = set()
    for each in sorted(left, key=order):
        taken[value(each)] += 1
        if most is not None and taken[value(each)] > most:
            found.add((each.uuid, each.index))
    return found


def expected(generations: list[Verified], parameters: SelectParameters) -> Fate:
    """Select as the documentation says, one rule after another."""
    told: Fate = {}
    left = [each for each in generations if each.verdict == RIGHT]

    def drop(fates: Mapping[tuple[str, int], str | None]) -> None:
        told.update({place: fate for place, fate in fates.items() if fate})
        left[:] = [each for each in left if (each.uuid, each.index) not in told]

    def seeded(each: Verified) -> int:
        return text_fingerprint(f"{parameters.seed}:{each.index}:{each.uuid}")

    preferred = {"shortest": lambda each: len(each.text), "longest": lambda each: -len(each.text)}
    preference = preferred.get(parameters.keep, lambda _: 0)
    drop({(each.uuid, each.index): by_pass_rate(generations, each, parameters) for each in left})
    drop({(each.uuid, each.index): by_length(each, parameters.length) for each in left})
    most = parameters.max_per_prompt or (None if parameters.keep == "all" else 1)
    per_prompt = beyond(left, most, lambda each: each.uuid, lambda each: (preference(each), each.index))
    drop(dict.fromkeys(per_prompt, "notKept"))
    if parameters.balance:
        column = parameters.balance.column
        of_value = beyond(left, parameters.balance.max_per_value, lambda each: getattr(each, column), seeded)
        drop(dict.fromkeys(of_value, "overrepresented"))
    drop(dict.fromkeys(beyond(left, parameters.limit, lambda _: None, seeded), "beyondLimit"))
    return told | {(each.uuid, each.index): "selected" for each in left}


generations = st.lists(
    st.builds(
        Verified,
        uuid=st.sampled_from("pqrst"),
        index=st.integers(0, 9),
        verdict=st.sampled_from([RIGHT, RIGHT, RIGHT, "incorrect", "truncated", "failed", "duplicate"]),
        text=st.sampled_from(["a", "bb", "ccc"]),
        source=st.sampled_from(["amc", "olympiads"]),
        tokens=st.one_of(st.none(), st.integers(0, 5)),
    ),
    unique_by=lambda each: (each.uuid, each.index),
    max_size=25,
)
bounds = st.tuples(st.sampled_from([0, 0.25, 0.5]), st.sampled_from([0.5, 0.75, 1.0]))
parameter_sets = st.builds(
    lambda band, **others: SelectParameters.model_validate({"minPassRate": band[0], "maxPassRate": band[1], **others}),
    bounds,
    length=st.sampled_from([None, {"unit": "tokens", "min": 1, "max": 3}, {"unit": "characters", "max": 2}]),
    keep=st.sampled_from(["all", "first", "shortest", "longest"]),
    maxPerPrompt=st.sampled_from([None, 1, 2]),
    balance=st.sampled_from([None, {"column": "source", "maxPerValue": 2}]),
    limit=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 3),
)


@given(chosen=generations, parameters=parameter_sets, size=st.integers(1, 30))
def test_each_rule_applies_to_what_those_before_it_left(
    chosen: list[Verified], parameters: SelectParameters, size: int
) -> None:
    """Also where the rows are read in parts, of any size."""
    if any(each.verdict == RIGHT for each in chosen):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keys, "_ROWS_AT_ONCE", size)
            assert fates(chosen, **parameters.to_json()) == expected(chosen, parameters)


def prompt(uuid: str, right: int, of: int, **more: Any) -> list[Verified]:
    """Give a prompt's generations, of which the first ones are right."""
    return [Verified(uuid, index, RIGHT if index < right else "incorrect", **more) for index in range(of)]


@pytest.mark.parametrize(
    ("band", "selected"),
    [
        ({}, {"seldom", "three of ten", "always"}),
        ({"minPassRate": 0.3}, {"three of ten", "always"}),
        ({"maxPassRate": 0.3}, {"seldom", "three of ten"}),
        ({"minPassRate": 0.11, "maxPassRate": 0.99}, {"three of ten"}),
    ],
)
def test_bounds_of_the_pass_rate_are_within_it(band: dict[str, float], selected: set[str]) -> None:
    rows = [*prompt("seldom", 1, 10), *prompt("three of ten", 3, 10), *prompt("always", 4, 4)]
    assert {uuid for (uuid, _), fate in fates(rows, **band).items() if fate == "selected"} == selected


def test_a_generation_that_nobody_judged_counts_for_no_pass_rate() -> None:
    rows = [Verified("p", 0), Verified("p", 1, "failed"), Verified("p", 2, "timeout"), Verified("p", 3, "truncated")]
    assert fates(rows, minPassRate=0.5, maxPassRate=0.5) == {("p", 0): "selected"}


def test_fewer_rows_by_the_same_seed_are_some_of_more() -> None:
    rows = [Verified(f"p{number}", index) for number in range(40) for index in range(3)]
    few, more, others = (
        {place for place, fate in fates(rows[::-1], limit=limit, seed=seed).items() if fate == "selected"}
        for limit, seed in ((20, 1), (60, 1), (20, 2))
    )
    assert (len(few), len(more)) == (20, 60)
    assert few < more
    assert few != others


def test_a_column_without_values_cannot_be_balanced() -> None:
    with pytest.raises(WrongInput, match="sourceColumn") as refusal:
        fates([Verified("p", 0)], balance={"column": "source", "maxPerValue": 1})
    assert refusal.value.reason == "BalanceColumnEmpty"
