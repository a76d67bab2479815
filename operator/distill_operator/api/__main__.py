"""Write everything that is generated from the API models: `python -m distill_operator.api ROOT [--check]`."""

import argparse
import sys
from pathlib import Path

import yaml

from distill_operator.api import KINDS
from distill_operator.api.crds import custom_resource_definition
from distill_operator.api.reference import reference_page

_NOTICE = "# Generated from operator/distill_operator/api by `make generate`. Do not edit.\n"


class _WithoutAliases(yaml.SafeDumper):
    """Writes a value out wherever it stands: an alias in a definition sends its reader looking."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def generated_files() -> dict[str, str]:
    """Give the content of every generated file by its path from the repository's root."""
    files = {"docs/reference.md": reference_page(list(KINDS.values()))}
    for kind in KINDS.values():
        definition = custom_resource_definition(kind)
        text = _NOTICE + yaml.dump(definition, Dumper=_WithoutAliases, sort_keys=False, width=120, allow_unicode=True)
        name = f"{definition['metadata']['name']}.yaml"
        files |= {f"crds/{name}": text, f"helm/npu-distill/crds/{name}": text}
    return files


def main() -> int:
    """Write the files, or with --check say which ones are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="root of the repository")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    arguments = parser.parse_args()
    stale = [
        path
        for path, text in generated_files().items()
        if not (file := arguments.root / path).exists() or file.read_text(encoding="utf-8") != text
    ]
    if arguments.check:
        for path in stale:
            sys.stderr.write(f"{path} is out of date: run `make generate`\n")
        return 1 if stale else 0
    for path in stale:
        file = arguments.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(generated_files()[path], encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
