"""What the runtime image's entrypoint does before a stage, for the user whom the container is given."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster.settings import REPOSITORY

ENTRYPOINT = REPOSITORY / "images/runtime/entrypoint.sh"
TOOLKIT = "/usr/local/Ascend/ascend-toolkit"
SET_ENV = "export ASCEND_OPP_PATH=/opp PYTHONPATH=/tbe:$PYTHONPATH"


def inside(user: int, preparation: str, command: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Run a command through the entrypoint as `user`, in namespaces of its own: with another /tmp, and an empty
    /usr/local for what `preparation` puts there."""
    script = f'mount --bind "$1" /tmp && mount -t tmpfs none /usr/local && {preparation} exec bash "$2" bash -c "$3"'
    # The script is a copy, since a repository may be under /tmp.
    copied = temporary / "entrypoint.sh"
    copied.write_bytes(ENTRYPOINT.read_bytes())
    namespaces = ["unshare", "--user", f"--map-user={user}", "--map-group=0", "--mount", "--keep-caps"]
    words = ["bash", "-c", script, "bash", str(temporary), "/tmp/entrypoint.sh", command]
    return subprocess.run([*namespaces, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("user", [54321, 1000680000])
def test_a_user_without_an_entry_gets_one(user: int, tmp_path: Path) -> None:
    ended = inside(user, "", "true", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    # What the C library's extrausers takes: a user and a group that are no system's, at least 500.
    assert (tmp_path / "passwd").read_text() == f"npu-distill-{user}:x:{user}:10001::/tmp:/usr/sbin/nologin\n"


def test_a_user_with_an_entry_keeps_it(tmp_path: Path) -> None:
    assert inside(0, "", "true", tmp_path).returncode == 0
    assert not (tmp_path / "passwd").exists()


def test_canns_environment_is_in_effect_where_there_is_a_cann(tmp_path: Path) -> None:
    preparation = f"mkdir -p {TOOLKIT} && echo '{SET_ENV}' > {TOOLKIT}/set_env.sh && PYTHONPATH=/ours"
    ended = inside(0, preparation, "echo $ASCEND_OPP_PATH $PYTHONPATH", tmp_path)
    assert ended.stdout == "/opp /tbe:/ours\n"


def test_the_command_takes_the_entrypoints_place(tmp_path: Path) -> None:
    """So that it gets the Pod's signals, and its exit code is the container's."""
    assert inside(0, "", "exit 78", tmp_path).returncode == 78
    ended = inside(0, "PARENT=$$", "echo $PARENT $$", tmp_path)
    parent, own = ended.stdout.split()
    assert parent == own
