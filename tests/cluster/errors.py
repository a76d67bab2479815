"""The one error of the local cluster, and the running of commands that raises it."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ClusterError(Exception):
    """Says what went wrong, where, and what to do. The command line prints it and exits with 1."""


def run(
    command: Sequence[str | Path],
    *,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> str:
    """Runs a command with `text` on its stdin and returns its stdout; raises ClusterError with its stderr."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=environment, cwd=directory
    )
    if done.returncode:
        shown = " ".join(map(str, command))
        raise ClusterError(f"`{shown}` exited with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
