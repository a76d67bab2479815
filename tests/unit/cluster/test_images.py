import configparser
import subprocess
import sys
from pathlib import Path

from tests.cluster.images import pip_configuration
from tests.cluster.settings import REPOSITORY

SCRIPT = REPOSITORY / "images/requirements.py"
PROJECT = """\
[project]
dependencies = ["pydantic>=2"]
[project.optional-dependencies]
runtime = ["mindformers==1.8.0", "mindspore==2.7.2", "fsspec[http]", "numpy<2"]
operator = ["kopf"]
[tool.ruff]
line-length = {width}
"""
LOCK = "# a comment\nmindspore==2.7.2\nnumpy==1.26.4\nruff==0.11\n"


def written(folder: Path, *words: str, width: int = 100) -> dict[str, list[str]]:
    (folder / "pyproject.toml").write_text(PROJECT.format(width=width))
    (folder / "requirements.lock").write_text(LOCK)
    subprocess.run([sys.executable, SCRIPT, *words], cwd=folder, check=True, capture_output=True, text=True)
    return {name: (folder / f"{name}.txt").read_text().splitlines() for name in ("requirements", "constraints")}


def test_an_image_installs_what_our_package_and_its_extra_depend_on(tmp_path: Path) -> None:
    files = written(tmp_path, "runtime")
    assert files["requirements"] == ["fsspec[http]", "mindformers==1.8.0", "mindspore==2.7.2", "numpy<2", "pydantic>=2"]
    assert files["constraints"] == ["mindspore==2.7.2", "numpy==1.26.4", "ruff==0.11"]


def test_a_change_of_a_tools_settings_changes_nothing_that_is_installed(tmp_path: Path) -> None:
    assert written(tmp_path, "operator", width=100) == written(tmp_path, "operator", width=120)


def test_a_base_with_another_python_is_refused(tmp_path: Path) -> None:
    pretended = (
        f"import runpy, sys; sys.version_info = (3, 10, 1); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", pretended, "runtime"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "ours is written for 3.11" in ended.stderr


def test_pip_in_the_build_is_configured_like_the_hosts(tmp_path: Path) -> None:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://one.example/simple\nretries = 9\n")
    text = pip_configuration({"HOME": str(tmp_path), "PIP_INDEX_URL": "https://two.example/simple"})
    parsed = configparser.ConfigParser()
    parsed.read_string(text)
    assert parsed["global"]["index-url"] == "https://two.example/simple"
    assert parsed["global"]["retries"] == "9"
    assert parsed["global"]["cert"] == "/etc/ssl/certs/ca-certificates.crt"
