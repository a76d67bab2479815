"""Options of the tests: an option is known only from a conftest that lies above whatever is run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files, to be read in review")
