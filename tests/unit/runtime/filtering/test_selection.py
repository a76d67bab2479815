"""Which of a prompt's right generations are kept."""

import itertools
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.contract.parameters import Keep
from distill_runtime.filtering import keys
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.selection import FATES, KEY, key_of, select

Row = tuple[str, int, str]

rows = st.lists(
    st.tuples(st.sampled_from("pqrs"), st.integers(0, 9), st.sampled_from(["a", "bb", "cc", "ddd", "eeee"])),
    unique_by=lambda row: row[:2],
    max_size=30,
)


def kept(chosen: list[Row], keep: Keep, most: int | None) -> list[Row]:
    with NamedTemporaryFile() as file:
        file.write(b"".join(key_of(*row, None) for row in chosen))
        file.flush()
        fates = select(Keys(Path(file.name), KEY), keep, most)
    return [row for row, fate in zip(chosen, fates, strict=True) if FATES[fate] == "kept"]


def expected(chosen: list[Row], keep: Keep, most: int | None) -> list[Row]:
    preference = {
        "all": lambda row: row[1],
        "first": lambda row: row[1],
        "shortest": lambda row: (len(row[2]), row[1]),
        "longest": lambda row: (-len(row[2]), row[1]),
    }[keep]
    result = []
    by_prompt = itertools.groupby(sorted(chosen), key=lambda row: row[0])
    for _, group in by_prompt:
        distinct = {}
        for row in group:
            distinct.setdefault(row[2], row)
        limit = most or (None if keep == "all" else 1)
        result += sorted(distinct.values(), key=preference)[:limit]
    return [row for row in chosen if row in result]


keeps = st.sampled_from(["all", "first", "shortest", "longest"])
limits = st.one_of(st.none(), st.integers(1, 4))


@given(chosen=rows, keep=keeps, most=limits)
def test_select(chosen: list[Row], keep: Keep, most: int | None) -> None:
    if chosen:
        assert kept(chosen, keep, most) == expected(chosen, keep, most)


@given(chosen=rows, keep=keeps, most=limits, size=st.integers(1, 5))
def test_parts_make_no_difference(chosen: list[Row], keep: Keep, most: int | None, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_ROWS_AT_ONCE", size)
        if chosen:
            assert kept(chosen, keep, most) == expected(chosen, keep, most)
