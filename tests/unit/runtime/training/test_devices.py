"""Whether a Pod can use its NPUs: a directory in place of /dev, and libraries that load or do not."""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training import devices
from distill_runtime.training.devices import check_devices, visible_devices

MANAGEMENT = ("davinci_manager", "devmm_svm", "hisi_hdc")
NOBODY = 54_321
"""A user that no machine's /etc/passwd has."""


def put_library(directory: Path, name: str) -> None:
    """Put a library that loads: a copy of one that this process has loaded."""
    mapped = Path("/proc/self/maps").read_text()
    loaded = re.findall(r"^.* (/\S+/libm[-.]\S+)$", mapped, re.MULTILINE)[0]
    shutil.copyfile(loaded, directory / name)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """What a Pod with four devices sees: device files, driver and CANN, a claim."""
    for name in ("dev", "lib64", "opp", "claim"):
        (tmp_path / name).mkdir()
    for name in (*MANAGEMENT, *(f"davinci{number}" for number in (2, 3, 4, 5))):
        (tmp_path / "dev" / name).touch(0o660)
    for name in ("libascend_hal.so", "libascendcl.so"):
        put_library(tmp_path / "lib64", name)
    return tmp_path


def variables(node: Path, **more: str) -> Mapping[str, str]:
    return {"LD_LIBRARY_PATH": str(node / "lib64"), "ASCEND_OPP_PATH": str(node / "opp"), **more}


def problems(node: Path, count: int = 4, **more: str) -> str:
    with pytest.raises(WrongInput) as refused:
        check_devices(count, node / "claim" / "team" / "run", variables(node, **more), node / "dev")
    assert refused.value.reason == "DeviceNotReady"
    return refused.value.message


def test_a_pod_that_has_everything_may_begin(node: Path) -> None:
    for more in ({}, {"ASCEND_VISIBLE_DEVICES": "2-5"}, {"ASCEND_VISIBLE_DEVICES": "void"}):
        check_devices(4, node / "claim" / "team" / "run", variables(node, **more), node / "dev")
    assert not list((node / "claim").iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("void", None),
        ("3", {3}),
        ("0-2,4", {0, 1, 2, 4}),
        ("Ascend910-1, Ascend910-3", {1, 3}),
        ("100", {100}),
        ("GPU-12ab", None),
    ],
)
def test_visible_devices_are_read_as_ascend_docker_runtime_does(text: str, expected: set[int] | None) -> None:
    assert visible_devices(text) == expected


def test_too_few_devices(node: Path) -> None:
    message = problems(node, count=8)
    assert "devicesPerNode is 8" in message
    assert "are davinci2, davinci3, davinci4, davinci5; see that the device plugin" in message
    assert "(2)" not in message


def test_devices_that_the_pod_was_not_given_do_not_count(node: Path) -> None:
    """A privileged container sees all of its node's."""
    assert "of which ASCEND_VISIBLE_DEVICES=2-4,7 leaves 3" in problems(node, ASCEND_VISIBLE_DEVICES="2-4,7")


def test_management_devices_belong_to_it(node: Path) -> None:
    (node / "dev" / "hisi_hdc").unlink()
    message = problems(node)
    assert f"(1) {node}/dev/hisi_hdc not there" in message
    assert "devmm_svm" not in message


@pytest.mark.parametrize(
    ("library", "said"), [("libascend_hal.so", "the driver's library"), ("libascendcl.so", "CANN's library")]
)
def test_a_library_that_does_not_load_is_quoted(node: Path, library: str, said: str) -> None:
    (node / "lib64" / library).unlink()
    assert f"(1) {said} does not load ({library}: cannot open shared object file" in problems(node)
    (node / "lib64" / library).write_bytes(b"of another machine")
    assert f"{said} does not load" in problems(node)


def test_a_driver_that_hangs_is_not_waited_for(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_LOAD", "import time; time.sleep(600)")
    monkeypatch.setattr(devices, "_LOAD_SECONDS", 0.2)
    assert "libascend_hal.so was still loading after 0.2 s" in problems(node)


def test_an_environment_without_cann(node: Path) -> None:
    assert "ASCEND_OPP_PATH is not set" in problems(node, ASCEND_OPP_PATH="")
    assert "ASCEND_OPP_PATH is /nowhere, which is no directory" in problems(node, ASCEND_OPP_PATH="/nowhere")


AS_NOBODY = """
import sys
from pathlib import Path
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.devices import check_devices
node = Path(sys.argv[1])
variables = {"LD_LIBRARY_PATH": f"{node}/lib64", "ASCEND_OPP_PATH": f"{node}/opp"}
try:
    check_devices(4, node / "claim" / "run", variables, node / "dev")
except WrongInput as refused:
    print(refused.message)
"""


def another_user() -> list[str]:
    """The command that runs one as a user who is not known, may read what there is, as this interpreter, and writes
    only what is theirs; empty where that cannot be."""
    with contextlib.suppress(KeyError):
        pwd.getpwuid(NOBODY)
        return []
    command = shutil.which("setpriv")
    if command is None or os.getuid() != 0:
        return []
    reading = "+dac_read_search"
    return [
        *(command, f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={NOBODY + 1}"),
        *(f"--inh-caps={reading}", f"--ambient-caps={reading}"),
    ]


@pytest.mark.skipif(not another_user(), reason="only root can become another user")
def test_all_that_keeps_a_user_out_is_said_at_once(node: Path) -> None:
    told = subprocess.run(
        [*another_user(), sys.executable, "-c", AS_NOBODY, str(node)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = ("davinci2", "davinci3", "davinci4", "davinci5", *MANAGEMENT)
    files = ", ".join(str(node / "dev" / name) for name in names)
    assert f"(1) user {NOBODY} with groups {NOBODY},{NOBODY + 1} may not read and write {files}" in told
    assert "supplementalGroups: [1000]" in told
    assert f"(2) user {NOBODY} has no entry in /etc/passwd" in told
    assert f"(3) user {NOBODY} may not write to {node}/claim on the claim (Permission denied)" in told
