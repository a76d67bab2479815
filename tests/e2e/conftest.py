"""A real Kubernetes with npu-distill installed, once for all tests; a namespace of its own for each.

The files of tests are spread over processes that share the installation.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.workspace import Workspace, open_workspace
from tests.harness.installation import Installation
from tests.harness.sharing import share_installation

PROGRESS_SECONDS = 3

VALUES: dict[str, Any] = {
    "progressIntervalSeconds": PROGRESS_SECONDS,
    # So little that a test may slow them down (Workspace.limit_cpu).
    "stages": {
        stage: {"resources": {"requests": {"cpu": "50m"}}}
        for stage in ("generate", "filter", "select", "pack", "export")
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
