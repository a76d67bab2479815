"""Write what an image installs before our code: `python3 requirements.py EXTRA`.

Reads pyproject.toml and requirements.lock and writes requirements.txt, what our package and its extra depend on, and
constraints.txt, the versions of the lock. A change of anything else in pyproject.toml leaves them as they are, and the
layer with the packages valid.
"""

import sys
from pathlib import Path

PYTHON = (3, 11)


def main(extra: str) -> None:
    """Write both files into the working directory, or say why they would be of no use."""
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"the base image has Python {sys.version.split()[0]}, and ours is written for 3.11")
    import tomllib  # noqa: PLC0415 - an older Python has none, and is to be told why

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    locked = [line for line in Path("requirements.lock").read_text().splitlines() if not line.startswith("#")]
    for file, lines in (("requirements.txt", wanted), ("constraints.txt", locked)):
        Path(file).write_text("".join(f"{line}\n" for line in sorted(lines) if line))


if __name__ == "__main__":
    main(sys.argv[1])
