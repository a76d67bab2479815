"""An environment for what we are compared with and do not depend on."""

import subprocess
import sys
from pathlib import Path

from tests.support.environments import python_with

REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"


def peer_python() -> Path | None:
    """Give a Python that has the peers, made when first asked for; None if they cannot be installed."""
    try:
        return python_with(REQUIREMENTS)
    except subprocess.CalledProcessError:
        sys.stderr.write("the peers cannot be installed; measuring without them\n")
        return None
