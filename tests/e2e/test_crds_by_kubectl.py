"""`helm install` on a cluster whose CRDs kubectl applied, as after an upgrade and an uninstall (docs/operating.md)."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.e2e.workspace import Workspace
from tests.harness.installation import CHART, REPOSITORY
from tests.harness.kubectl import CommandError


@pytest.fixture
def release(workspace: Workspace) -> Iterator[tuple[str, ...]]:
    """The words that install a second release, which watches the test's namespace alone."""
    workspace.kubectl("apply", "--server-side", "--force-conflicts", "-f", REPOSITORY / "crds")
    where = ("--namespace", workspace.namespace, "--set", f"watchNamespaces={{{workspace.namespace}}}")
    yield ("helm", "install", "second", str(CHART), *where)
    with contextlib.suppress(CommandError):  # there is none where it was refused
        workspace.kubectl.run("helm", "uninstall", "second", "--namespace", workspace.namespace)


def test_helm_4_refuses_them(workspace: Workspace, release: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r'conflict with "kubectl": \.spec\.versions'):
        workspace.kubectl.run(*release)


@pytest.mark.parametrize("way", ["--skip-crds", "--force-conflicts"])
def test_helm_installs_beside_them(way: str, workspace: Workspace, release: tuple[str, ...]) -> None:
    assert "STATUS: deployed" in workspace.kubectl.run(*release, way)
    assert workspace.kubectl.exists("deployment", "second-npu-distill", workspace.namespace)
