"""`pytest tests/unit/operator --update-golden` rewrites the golden files, to be read in review."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def equals_golden(request: pytest.FixtureRequest) -> Callable[[str, list[dict[str, Any]]], None]:
    """Compare manifests with a golden file, or write it."""

    def compare(name: str, manifests: list[dict[str, Any]]) -> None:
        path = GOLDEN / f"{name}.yaml"
        if request.config.getoption("--update-golden"):
            path.write_text(yaml.dump_all(manifests, Dumper=_Literal, sort_keys=False, width=120, allow_unicode=True))
        assert path.exists(), f"{path} is missing: run pytest tests/unit/operator --update-golden"
        assert manifests == list(yaml.safe_load_all(path.read_text()))

    return compare


class _Literal(yaml.SafeDumper):
    """Writes contracts as blocks of lines, without aliases, so that a diff shows the field that changed."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Literal.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
