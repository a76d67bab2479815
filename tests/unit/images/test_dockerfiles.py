"""What all the Dockerfiles promise."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from images.imports import MODULES, other_versions
from tests.cluster.images import NAMES
from tests.cluster.settings import REPOSITORY

CODE = {
    "operator": ("operator/distill_operator", "job_runtime/distill_runtime/contract"),
    "runtime": ("job_runtime/distill_runtime",),
    "teacher": ("examples/arithmetic/teacher",),
}
OURS = {"distill_operator", "distill_runtime", *(path.stem for path in (REPOSITORY / CODE["teacher"][0]).glob("*.py"))}


def imported(folder: Path) -> Iterator[str]:
    """Every module that the code below a folder imports, wherever in it."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


@pytest.mark.parametrize("image", NAMES)
def test_what_the_code_imports_is_imported_while_the_image_is_built(image: str) -> None:
    needed = {module for folder in CODE[image] for module in imported(REPOSITORY / folder)}
    foreign = {module for module in needed if module.split(".")[0] not in {*sys.stdlib_module_names, *OURS}}
    at_build = {module.rsplit(".", level)[0] for module in MODULES[image] for level in range(module.count(".") + 1)}
    assert foreign <= at_build, "add what is missing to MODULES in images/imports.py"


@pytest.mark.parametrize("image", NAMES)
def test_nothing_is_imported_that_is_no_longer_installed(image: str) -> None:
    assert [name for name in {module.split(".")[0] for module in MODULES[image]} if not find_spec(name)] == []


@pytest.mark.parametrize("image", NAMES)
def test_no_image_is_built_without_importing_it(image: str) -> None:
    """Whatever its base: outside of every condition."""
    lines = (REPOSITORY / f"images/{image}/Dockerfile").read_text().splitlines()
    (line,) = (line for line in lines if f"/requirements/imports.py {image}" in line)
    assert line.startswith(" && ")


@pytest.mark.parametrize("image", NAMES)
def test_where_pip_and_apt_get_packages_from_can_be_said(image: str) -> None:
    said: set[str] = set()
    installing = 0
    for line in (REPOSITORY / f"images/{image}/Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["FROM"]:
            said = set()
        elif words[:1] == ["ARG"]:
            said.add(words[1].partition("=")[0])
        elif "/pip/bin/pip" in words:
            installing += 1
            assert "PIP_INDEX_URL" in said
        elif "apt-get" in words:
            assert "APT_MIRROR" in said
            assert "Dir::Etc=/tmp/apt" in words
    assert installing == 1


def test_an_image_with_another_version_than_is_pinned_is_not_built(tmp_path: Path) -> None:
    here = version("pydantic")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"pydantic=={here}\nnumpy<2\n")
    assert other_versions(requirements) == []
    requirements.write_text("pydantic==1.0.0\nnumpy<2\n")
    assert other_versions(requirements) == [f"pydantic {here} instead of 1.0.0"]
    (tmp_path / "imports.py").write_text((REPOSITORY / "images/imports.py").read_text())
    ended = subprocess.run(
        [sys.executable, tmp_path / "imports.py", "teacher"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert f"pydantic {here} instead of 1.0.0" in ended.stderr
