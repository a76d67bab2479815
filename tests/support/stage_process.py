"""A stage as a process of its own, ended from outside."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from distill_runtime.contract import Contract


def end_stage(volume: Path, contract: Contract, grown: Path, size: int, with_signal: signal.Signals) -> int:
    """Start a stage, send it a signal once a file has grown to so many bytes, and give its exit code."""
    path = volume / "contract.json"
    path.write_text(contract.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "distill_runtime", contract.stage, "--contract", str(path)]
    with subprocess.Popen([*command, "--volume", str(volume), "--result", str(volume / "result.json")]) as process:
        while process.poll() is None:
            if grown.exists() and grown.stat().st_size >= size:
                process.send_signal(with_signal)
                break
            time.sleep(0.002)
    return process.returncode
