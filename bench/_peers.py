"""An environment for what we are compared with and do not depend on."""

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ("openai==3.54.0", "uvloop")


def peer_python() -> Path | None:
    """Give a Python that has the peers, made when first asked for; None if they cannot be installed."""
    cache = Path(os.environ.get("NPU_DISTILL_CACHE", Path.home() / ".cache" / "npu-distill"))
    environment = cache / "bench-peers"
    python = environment / "bin" / "python"
    if not (environment / ".complete").exists():
        uv = Path(sys.executable).with_name("uv")
        commands = (
            [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
            [str(uv), "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS],
        )
        for command in commands:
            if subprocess.run(command, check=False).returncode:
                sys.stderr.write("the peers cannot be installed; measuring without them\n")
                return None
        (environment / ".complete").touch()
    return python
