"""Each line of the threat model names a test that there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROWS = [
    line for line in (ROOT / "docs" / "security.md").read_text().splitlines() if re.match(r"\| (a|an|whoever) ", line)
]
TESTS = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
DEFINED = {name for text in TESTS.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}


def test_the_threat_model_is_read() -> None:
    assert len(ROWS) == 14


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(re.findall(r"\w+", row)[:6]))
def test_a_test_shows_it(row: str) -> None:
    shown = row.rsplit("|", 2)[1]
    named = re.findall(r"`(test_\w+(?:\.py)?)`", shown)
    assert named or "the same" in shown, row
    assert [name for name in named if name not in DEFINED | TESTS.keys()] == []
