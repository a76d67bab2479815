"""What holds for all tests, whatever is run: their options, no deadline of a machine, and where MindFormers may log."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

LONGEST = ("test_arithmetic.py", "test_training_run.py", "test_several_workers.py")
"""The files whose tests take longest: they train."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, to be read in review")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, since what comes last has the other processes wait for it. What needs the cluster
    waits for the first of its kind to bring it up, and then for Pods, so it comes before what fills the processors."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int]:
    longest = LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
    on_cluster = item.path.parent.name == "e2e"
    return longest, 0 if item.get_closest_marker("mindspore") else 1 if on_cluster else 2


@pytest.fixture
def equals_golden_text(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, or write it."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.exists(), f"{path} is missing: run make golden"
        assert text == path.read_text()

    return compare


def pytest_configure() -> None:
    settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any-machine")
    # MindFormers makes a folder for its log as soon as it is imported, in the working directory unless told another.
    os.environ.setdefault("LOCAL_DEFAULT_PATH", str(Path(tempfile.gettempdir()) / "npu-distill-tests"))
    # MindSpore's messages are of an older protobuf, and it sets this when it is imported. A process that has imported
    # protobuf before, as only one of tests has, would be ended by it.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
