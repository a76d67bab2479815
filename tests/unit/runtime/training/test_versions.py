"""The versions that are tested with are named once more only where they are installed from."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.assignments import assignment

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.causes import Cause
from distill_runtime.training.launcher import Node, run_workers
from distill_runtime.training.versions import TESTED, check_versions
from tests.cluster.settings import REPOSITORY


def test_the_tested_versions_are_the_ones_that_are_installed_and_locked() -> None:
    pins = {f"{name}=={version}" for name, version in TESTED.items()}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert pins <= set(project["optional-dependencies"]["runtime"])
    assert pins <= set((REPOSITORY / "requirements.lock").read_text().splitlines())
    check_versions()


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """The file of a worker's orders whose configuration does not exist: it must not get as far as that."""
    path = tmp_path / "assignment.json"
    content = assignment(tmp_path, configuration=tmp_path / "absent.yaml")
    path.write_text(content.model_dump_json(by_alias=True))
    return path


def run_worker(orders: Path, mindspore: str, monkeypatch: pytest.MonkeyPatch) -> Cause | None:
    """Run a worker where MindSpore's metadata say another version than what is installed."""
    installed = orders.parent / "installed" / f"mindspore-{mindspore}.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mindspore\nVersion: {mindspore}\n")
    monkeypatch.syspath_prepend(installed.parent)
    return run_workers(Node(0, 1, 1, None), orders, orders.parent, lambda: None, lambda: False)


def test_a_worker_refuses_another_version_for_good(orders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongInput) as refused:
        run_worker(orders, "2.5.0", monkeypatch)
    assert refused.value.reason == "VersionMismatch"
    assert f"this image has {words(TESTED | {'mindspore': '2.5.0'})}, and" in refused.value.message
    assert f"tested with {words(TESTED)};" in refused.value.message


@pytest.mark.mindspore
def test_a_local_build_of_the_tested_version_is_taken(orders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run_worker(orders, TESTED["mindspore"] + "+site", monkeypatch)
    assert failed is not None
    assert "absent.yaml" in failed.message


def words(versions: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())
