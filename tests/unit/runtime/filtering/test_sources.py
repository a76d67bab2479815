"""Sources are counted however many there are, and shown as far as a person can read them."""

import json
from collections.abc import Iterable
from pathlib import Path

from distill_runtime.filtering.sources import NONE, OTHERS, SHOWN, chart_by_source


def chart(
    directory: Path, kept: Iterable[str | None], rejects: Iterable[tuple[str | None, str]]
) -> dict[str, tuple[int, ...]]:
    paths = directory / "kept.jsonl", directory / "rejects.jsonl"
    paths[0].write_text("".join(json.dumps({"source": source}) + "\n" for source in kept))
    paths[1].write_text("".join(json.dumps({"source": source, "reason": reason}) + "\n" for source, reason in rejects))
    return {bar.label: bar.parts for bar in chart_by_source(*paths).bars}


def test_what_is_right_but_not_selected_is_right(tmp_path: Path) -> None:
    rejects = [("amc", "incorrect"), ("amc", "notKept"), ("amc", "duplicate"), (None, "failed")]
    assert chart(tmp_path, ["amc"], rejects) == {"amc": (3, 1), NONE: (0, 1)}


def test_the_most_frequent_come_first_and_the_rest_is_counted_together(tmp_path: Path) -> None:
    kept = [f"s{number}" for number in range(SHOWN + 5) for _ in range(number + 1)]
    bars = chart(tmp_path, kept, [("s0", "incorrect")])
    assert list(bars) == [*(f"s{number}" for number in range(SHOWN + 4, 4, -1)), OTHERS]
    assert bars[OTHERS] == (1 + 2 + 3 + 4 + 5, 1)


def test_a_source_of_its_own_for_every_row_loses_no_count(tmp_path: Path) -> None:
    bars = chart(tmp_path, [f"row {number}" for number in range(3000)], [])
    assert len(bars) == SHOWN + 1
    assert sum(right for right, _ in bars.values()) == 3000
