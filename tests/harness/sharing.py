"""One installation for all processes that test at the same time."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from tests.cluster.images import RECIPES
from tests.cluster.lifecycle import down, locked
from tests.cluster.processes import running
from tests.cluster.settings import read_settings
from tests.harness.installation import Installation, Say, connect, install, is_current, open_cluster, uninstall

STARTED = "the local cluster was started for it"


@contextmanager
def share_installation(values: Mapping[str, Any], say: Say) -> Iterator[Installation]:
    """Give npu-distill on a real cluster to this process and to those beside it.

    The first to come installs it while the others wait. The last to leave removes it, and takes the local cluster down
    unless that was up before. A process that is killed has left.
    """
    folder = read_settings().cache
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "installation-lock"  # one process at a time comes or leaves
    with (folder / "installation-users").open("a+") as users:
        with locked(lock):
            if _is_only(users):
                _set_up(users, values, say)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield Installation(connect())
        finally:
            with locked(lock):
                if _is_only(users):
                    _tear_down(users, say)


def _is_only(users: IO[str]) -> bool:
    """Tell whether no other process uses the installation; each holds a shared lock on the file while it does."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _set_up(users: IO[str], values: Mapping[str, Any], say: Say) -> None:
    starts = not is_current() and not running()
    users.truncate(0)
    users.write(STARTED if starts else "")
    users.flush()
    try:
        install(open_cluster(RECIPES, say), values, say)
    except BaseException:
        if starts:
            down(read_settings(), say)
        raise


def _tear_down(users: IO[str], say: Say) -> None:
    users.seek(0)
    try:
        uninstall(Installation(connect()))
    finally:
        if users.read() == STARTED:
            down(read_settings(), say)
