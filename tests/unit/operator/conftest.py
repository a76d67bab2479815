"""Golden files of manifests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def equals_golden(equals_golden_text: Callable[[Path, str], None]) -> Callable[[str, list[dict[str, Any]]], None]:
    """Compare manifests with a golden file, or write it."""

    def compare(name: str, manifests: list[dict[str, Any]]) -> None:
        text = yaml.dump_all(manifests, Dumper=_Literal, sort_keys=False, width=120, allow_unicode=True)
        equals_golden_text(GOLDEN / f"{name}.yaml", text)

    return compare


class _Literal(yaml.SafeDumper):
    """Writes contracts as blocks of lines, without aliases, so that a diff shows the field that changed."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Literal.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
