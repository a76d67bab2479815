"""Write what an image installs before our code: `python3 requirements.py EXTRA [DISTRIBUTION ...]`.

Reads pyproject.toml and requirements.lock and writes requirements.txt, what our package and its extra depend on, and
constraints.txt, the versions of the lock; both without the distributions that the base image brings. A change of
anything else in pyproject.toml leaves them as they are, and the layer with the packages valid.
"""

import re
import sys
from pathlib import Path

PYTHON = (3, 11)


def distribution(line: str) -> str:
    """Give the normalised name of the distribution that a line of requirements is about."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line.strip(), maxsplit=1)[0]).lower()


def main(extra: str, brought: set[str]) -> None:
    """Write both files into the working directory, or say why they would be of no use."""
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"the base image has Python {sys.version.split()[0]}, and ours is written for 3.11")
    import tomllib  # noqa: PLC0415 - an older Python has none, and is to be told why

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    locked = [line for line in Path("requirements.lock").read_text().splitlines() if not line.startswith("#")]
    if unknown := brought - {distribution(line) for line in [*wanted, *locked]}:
        raise SystemExit(f"FROM_BASE names {', '.join(sorted(unknown))}, which the {extra} image does not need")
    for file, lines in (("requirements.txt", wanted), ("constraints.txt", locked)):
        kept = sorted(line for line in lines if line and distribution(line) not in brought)
        Path(file).write_text("".join(f"{line}\n" for line in kept))


if __name__ == "__main__":
    main(sys.argv[1], {distribution(name) for name in sys.argv[2:]})
