"""Pairs of a kept and a wrong answer to one prompt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.generate_artifacts import Generation, write_generate_artifacts

from distill_runtime.contract import FilterContract
from distill_runtime.filtering import keys as keys_module
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.preferences import choose_pairs
from distill_runtime.filtering.selection import KEY, key_of
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import filter as filter_stage
from distill_runtime.storage.volume import Volume

RIGHT, WRONG = "It is \\boxed{2}.", "It is \\boxed{3}."
GENERATIONS = [
    Generation("several", 0, "2", WRONG),
    Generation("several", 1, "2", RIGHT, reasoning="One and one."),
    Generation("several", 2, "2", WRONG),  # repeats the first
    Generation("several", 3, "2", "<think>\nThree?\n</think>\n\n\\boxed{4}"),
    Generation("several", 4, "2", "\\boxed{2}"),
    Generation("several", 5, "2", "\\boxed{2} it is"),
    Generation("only-right", 0, "2", RIGHT),
    Generation("only-wrong", 0, "2", WRONG),
    Generation("cut", 0, "2", RIGHT),
    Generation("cut", 1, "2", WRONG, finish_reason="length"),
    Generation("cut", 2, "2", failure="badRequest"),
]


def filtered(root: Path, **parameters: Any) -> dict[str, int]:
    contract = FilterContract.model_validate(
        {"output": "filter", "input": "generate", "filter": {"verifier": "exact", **parameters}}
    )
    return filter_stage.run(contract, StageContext(Volume(root), Reporter("filter", "generations"))).counts


def load(root: Path, cache: Path) -> list[dict[str, Any]]:
    from datasets import load_dataset  # noqa: PLC0415

    rows: list[dict[str, Any]] = load_dataset(
        str(root / "filter" / "preferences"), split="train", cache_dir=str(cache)
    ).to_list()
    return rows


def test_they_are_what_trainers_of_preferences_read(tmp_path: Path) -> None:
    write_generate_artifacts(tmp_path, [GENERATIONS])
    counts = filtered(tmp_path, preferencePairs={"maxPerPrompt": 5})
    assert counts["preferencePairs"] == 2
    first, second = load(tmp_path, tmp_path / "cache")
    assert first == {
        "uuid": "several",
        "source": None,
        "chosen_generation": 1,
        "rejected_generation": 0,
        "prompt": [{"role": "user", "content": "the problem several"}],
        "chosen": [{"role": "assistant", "content": f"<think>\nOne and one.\n</think>\n\n{RIGHT}"}],
        "rejected": [{"role": "assistant", "content": WRONG}],
    }
    assert (second["chosen_generation"], second["rejected_generation"]) == (4, 3)
    assert second["rejected"][0]["content"] == "<think>\nThree?\n</think>\n\n\\boxed{4}"


@pytest.mark.parametrize(
    ("parameters", "pairs"),
    [
        ({"preferencePairs": {}}, 1),
        ({"preferencePairs": {}, "keep": "shortest"}, 1),
        ({"preferencePairs": {}, "onTruncated": "keep"}, 1),
        ({}, None),
    ],
)
def test_there_are_no_more_than_are_asked_for(tmp_path: Path, parameters: dict[str, Any], pairs: int | None) -> None:
    write_generate_artifacts(tmp_path, [GENERATIONS])
    assert filtered(tmp_path, **parameters).get("preferencePairs") == pairs
    assert (tmp_path / "filter" / "preferences").exists() == (pairs is not None)


def test_where_nothing_is_wrong_there_are_none(tmp_path: Path) -> None:
    write_generate_artifacts(tmp_path, [[GENERATIONS[6]]])
    assert filtered(tmp_path, preferencePairs={})["preferencePairs"] == 0
    assert not (tmp_path / "filter" / "preferences").exists()


def test_rows_with_one_uuid_are_told_apart(tmp_path: Path) -> None:
    """Both have a first generation, of which one is right."""
    rows = [{"uuid": "u", "problem": "1 + 1?", "answer": "2", "generations": [text]} for text in (RIGHT, WRONG)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    contract = FilterContract.model_validate(
        {"output": "filter", "input": {"uri": "rows.jsonl"}, "filter": {"verifier": "exact", "preferencePairs": {}}}
    )
    filter_stage.run(contract, StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    (pair,) = load(tmp_path, tmp_path / "cache")
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (RIGHT, WRONG)


answers = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5)), max_size=12, unique_by=lambda a: a[:2]
)


@given(chosen=answers, wrong=answers, most=st.integers(1, 3), at_once=st.sampled_from([2, 100]))
def test_each_answer_is_in_one_pair_at_most_and_as_many_are_made_as_can_be(
    tmp_path_factory: pytest.TempPathFactory,
    chosen: list[tuple[int, int, int]],
    wrong: list[tuple[int, int, int]],
    most: int,
    at_once: int,
) -> None:
    directory = tmp_path_factory.mktemp("pairs")
    for name, found in (("chosen", chosen), ("wrong", wrong)):
        (directory / name).write_bytes(b"".join(key_of(str(p), g, str(text), None) for p, g, text in found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys_module, "_ROWS_AT_ONCE", at_once)
        pairs = choose_pairs(Keys(directory / "chosen", KEY), Keys(directory / "wrong", KEY), most)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert np.all(np.diff(pairs[:, 0]) > 0)
    assert all(chosen[right][0] == wrong[other][0] for right, other in pairs)
    expected = sum(
        min(most, sum(p == prompt for p, _, _ in chosen), len({text for p, _, text in wrong if p == prompt}))
        for prompt in range(4)
    )
    assert len(pairs) == expected
