import pytest

from tests.cluster import prerequisites
from tests.cluster.errors import ClusterError

PACKAGES = {"containerd": ("containerd", "ctr"), "etcd-server": ("etcd",), "iproute2": ("ip",)}


def test_only_packages_of_which_something_is_missing_are_missing() -> None:
    lacking = prerequisites.missing(PACKAGES, present=lambda name: name not in ("ctr", "etcd"))
    assert lacking == {"containerd": ["ctr"], "etcd-server": ["etcd"]}


def test_what_is_missing_is_named_with_its_package_and_the_command_that_installs_it() -> None:
    message = prerequisites.refusal({"containerd": ["ctr"], "etcd-server": ["etcd"]})
    assert "ctr (Debian package containerd)" in message
    assert "apt-get install --no-install-recommends containerd etcd-server" in message
    assert "CLUSTER=current" in message


@pytest.mark.parametrize(
    ("platform", "user", "words"),
    [("darwin", 0, "this is darwin"), ("linux", 1000, "as root")],
)
def test_a_machine_that_cannot_run_it_is_refused_with_the_way_out(platform: str, user: int, words: str) -> None:
    with pytest.raises(ClusterError, match=words) as refused:
        prerequisites.check_machine(platform, user)
    assert "CLUSTER=current" in str(refused.value)


def test_root_on_linux_is_accepted() -> None:
    prerequisites.check_machine("linux", 0)
