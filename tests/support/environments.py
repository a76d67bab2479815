"""Environments for programs that look at what ours make, and whose requirements do not go together with ours."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.cluster.settings import read_settings


def python_with(requirements: Path) -> Path:
    """Give a Python that has exactly these packages, made when first asked for; who asks meanwhile waits.

    Raises:
        CalledProcessError: they cannot be installed.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    environment = read_settings().cache / "environments" / f"{requirements.parent.name}-{digest}"
    python, complete = environment / "bin" / "python", environment / ".complete"
    environment.parent.mkdir(parents=True, exist_ok=True)
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            uv = str(Path(sys.executable).with_name("uv"))
            for command in (
                ("venv", "--quiet", "--clear", "--python", sys.executable, str(environment)),
                ("pip", "install", "--quiet", "--python", str(python), "--no-deps", "-r", str(requirements)),
            ):
                subprocess.run([uv, *command], check=True)
            complete.touch()
    return python
