"""The recipe's three objects, as examples/openr1-qwen-7b has them but for what openr1-qwen-7b-on-cpus.yaml changes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.workspace import Manifest, merged

EXAMPLE = Path(__file__).parents[2] / "examples" / "openr1-qwen-7b"
FILES = ("dataset.yaml", "finetune.yaml", "eval.yaml")
CHANGES: Mapping[str, Manifest] = yaml.safe_load(Path(__file__).with_name("openr1-qwen-7b-on-cpus.yaml").read_text())


def recipe_on_cpus(namespace: str) -> list[Manifest]:
    """Give the three objects, for a namespace."""
    found = []
    for file in FILES:
        manifest = merged(yaml.safe_load((EXAMPLE / file).read_text()), CHANGES[file])
        manifest["metadata"] = manifest["metadata"] | {"namespace": namespace}
        found.append(manifest)
    return found


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give every field that has no fields itself, by its path."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
