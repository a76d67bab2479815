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
from tests.cluster.images import MLX_LM, NAMES, RECIPES, Recipe
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


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_where_pip_and_apt_get_packages_from_can_be_said(recipe: Recipe) -> None:
    said: set[str] = set()
    installing = 0
    for line in (REPOSITORY / recipe.folder / "Dockerfile").read_text().splitlines():
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


def test_a_server_that_is_somebody_elses_is_the_same_one_whenever_it_is_built() -> None:
    """Its packages are installed without what they depend on: all of it is pinned."""
    lines = (REPOSITORY / MLX_LM.folder / "requirements.txt").read_text().splitlines()
    pinned = [line.partition("==") for line in lines if not line.startswith("#")]
    assert {"mlx", "mlx-cpu", "mlx-lm"} <= {name for name, _, _ in pinned}
    assert [name for name, _, version in pinned if not version] == []
    assert "--no-deps" in (REPOSITORY / MLX_LM.folder / "Dockerfile").read_text()


RUNTIME = (REPOSITORY / "images/runtime/Dockerfile").read_text()
CHIPS = ("910b", "a3")


def default(argument: str) -> str:
    """The default of a build argument of the runtime image, as it is written."""
    (value,) = (line.partition("=")[2] for line in RUNTIME.splitlines() if line.startswith(f"ARG {argument}="))
    return value


def test_without_a_chip_the_base_is_pythons_and_with_one_it_is_canns() -> None:
    """Expanded by a shell, whose rules for these forms are those of the builders."""
    script = (
        f'CANN_VERSION={default("CANN_VERSION")}; CANN_IMAGE="{default("CANN_IMAGE")}"; echo "{default("BASE_IMAGE")}"'
    )
    bases = [
        subprocess.run(["sh", "-c", script], env={"CHIP": chip}, capture_output=True, text=True, check=True).stdout
        for chip in ("", *CHIPS)
    ]
    cann = f"quay.io/ascend/cann:{default('CANN_VERSION')}"
    assert bases == [
        "python:3.11-slim-bookworm\n",
        *(f"{cann}-{chip}-ubuntu22.04-py3.11\n" for chip in CHIPS),
    ]


@pytest.mark.parametrize("page", ["images/README.md", "docs/support.md"])
def test_the_documentation_names_the_base_for_npus_exactly(page: str) -> None:
    assert f"quay.io/ascend/cann:{default('CANN_VERSION')}-910b-ubuntu22.04-py3.11" in (REPOSITORY / page).read_text()


def test_the_user_that_a_stage_runs_as_is_one_that_the_image_knows() -> None:
    """Between several devices HCCL fails for a user without a name (vllm-ascend#9490)."""
    (user,) = (line.split()[1] for line in RUNTIME.splitlines() if line.startswith("USER "))
    uid, gid = user.split(":")
    assert f"echo 'npu-distill:x:{uid}:{gid}::/tmp:/usr/sbin/nologin' >>/etc/passwd" in RUNTIME
    assert f"echo 'npu-distill:x:{gid}:' >>/etc/group" in RUNTIME


def test_stages_start_by_the_entrypoint_which_can_be_executed() -> None:
    assert 'ENTRYPOINT ["/usr/local/bin/entrypoint.sh", "python", "-m", "distill_runtime"]' in RUNTIME
    assert (REPOSITORY / "images/runtime/entrypoint.sh").stat().st_mode & 0o111 == 0o111


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
