"""A real Kubernetes with npu-distill installed, once for all tests; a namespace of its own for each.

The files of tests are spread over processes that share the installation.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.images import MLX_LM
from tests.cluster.settings import REPOSITORY
from tests.e2e.workspace import Workspace, open_workspace
from tests.harness.installation import Installation
from tests.harness.sharing import share_installation

PROGRESS_SECONDS = 3
_SERVERS = re.compile(r"^```yaml\n(servers:\n  mlx-lm:\n.*?)^```", re.DOTALL | re.MULTILINE)


def documented_server() -> dict[str, Any]:
    """The server that docs/operating.md describes, as whoever reads it would."""
    (block,) = _SERVERS.findall((REPOSITORY / "docs/operating.md").read_text())
    return dict(yaml.safe_load(block)["servers"]["mlx-lm"])


VALUES: dict[str, Any] = {
    "progressIntervalSeconds": PROGRESS_SECONDS,
    # So little that a test may slow them down (Workspace.limit_cpu).
    "stages": {
        stage: {"resources": {"requests": {"cpu": "50m"}}}
        for stage in ("generate", "filter", "select", "pack", "export")
    },
    # Not one of ours, and described as in docs/operating.md: nobody here has written it.
    "servers": {
        "mlx-lm": {
            **documented_server(),
            "image": MLX_LM.full_name,
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        }
    },
    "profiles": {
        # Devices that the nodes of the local cluster claim to have, with the CPU's image: what an NPU Pod asks of
        # Kubernetes can be seen without an NPU.
        "fake-npu": {
            "deviceTarget": "CPU",
            "resource": "huawei.com/Ascend910",
            "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
        },
    },
}


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """npu-distill on a real cluster, shared with the processes that test beside this one."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\n{line}")
            sys.stderr.flush()

    with share_installation(VALUES, say) as shared:
        yield shared


@pytest.fixture
def workspace(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A namespace of its own with a small student, deleted afterwards."""
    with open_workspace(installation, f"e2e-{request.node.name.removeprefix('test_')}") as opened:
        opened.shrink_student()
        yield opened
