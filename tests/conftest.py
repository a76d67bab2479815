"""What holds for all tests, whatever is run: their options, and where MindFormers may write its log."""

import os
import tempfile
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, to be read in review")


def pytest_configure() -> None:
    # MindFormers makes a folder for its log as soon as it is imported, in the working directory unless told another.
    os.environ.setdefault("LOCAL_DEFAULT_PATH", str(Path(tempfile.gettempdir()) / "npu-distill-tests"))
