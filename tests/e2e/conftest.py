"""A real Kubernetes with npu-distill installed, once for all tests; a namespace of its own for each.

The example, whole, takes minutes, most of them one Pod's. It runs beside the other tests, and what is said of it is
tested last.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.example import Example, open_example
from tests.e2e.workspace import Workspace, open_workspace
from tests.harness.installation import Installation, borrow_cluster, install, uninstall

PROGRESS_SECONDS = 3

VALUES: dict[str, Any] = {
    "progressIntervalSeconds": PROGRESS_SECONDS,
    # So little that a test may slow them down (Workspace.limit_cpu).
    "stages": {stage: {"resources": {"requests": {"cpu": "50m"}}} for stage in ("generate", "filter", "pack")},
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
    """npu-distill on a real cluster, removed again at the end; the local cluster itself is taken down if it was
    not up before."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\n{line}")
            sys.stderr.flush()

    with borrow_cluster(say) as cluster:
        installed = install(cluster, VALUES, say)
        yield installed
        uninstall(installed)


@pytest.fixture(scope="session")
def example(installation: Installation) -> Iterator[Example]:
    """The example's three objects in a namespace of their own, applied in one go, under way or done."""
    with open_example(installation) as opened:
        yield opened


@pytest.fixture
def workspace(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """A namespace of its own, deleted afterwards."""
    if any(_concerns_the_example(item) for item in request.session.items):
        request.getfixturevalue("example")
    with open_workspace(installation, f"e2e-{request.node.name.removeprefix('test_')}") as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what waits for the example."""
    items.sort(key=_concerns_the_example)


def _concerns_the_example(item: pytest.Item) -> bool:
    return "example" in getattr(item, "fixturenames", ())
