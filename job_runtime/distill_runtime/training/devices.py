"""Whether this Pod can use its NPUs, found out in seconds and before MindSpore is loaded.

What is wrong with a node, an image or a profile is wrong in the next attempt too, and MindSpore says little of it: a
user without an entry in /etc/passwd is "ra init failed" minutes later, in every attempt. So everything is looked at
first, and all that is wrong is said at once.

Sources: the device files, the driver's directory and ASCEND_VISIBLE_DEVICES are those of Ascend Docker Runtime
(MindCluster, "Default Content Mounted by Ascend Docker Runtime", "Usage on the Containerd Client"); ASCEND_OPP_PATH is
what MindSpore finds CANN by (run_check/_check_version.py, AscendEnvChecker); the passwd entry is what HCCL needs to
initialise several devices (vllm-project/vllm-ascend, issue 9490).
"""

import errno
import os
import pwd
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from distill_runtime.foundation.errors import WrongInput

_DEVICE: Final = re.compile(r"davinci(\d+)")
_MANAGEMENT: Final = ("davinci_manager", "devmm_svm", "hisi_hdc")
_VISIBLE: Final = "ASCEND_VISIBLE_DEVICES"
_VISIBLE_ITEM: Final = re.compile(r"(?:[A-Za-z]\w*-)?(\d+)(?:-(\d+))?")
"""3, 0-7, or Ascend910-3: a device, a range of them, or a device named by its chip."""
_DRIVER: Final = "libascend_hal.so"
_CANN: Final = "libascendcl.so"
_OPP: Final = "ASCEND_OPP_PATH"
_LOAD: Final = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
_LOAD_SECONDS: Final = 60
"""A library loads in less than a second; a driver that hangs never ends."""
_CLOSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_GROUP_REMEDY: Final = (
    "the files belong to the driver's group, so add its number to the profile's podSecurityContext, such as "
    "{supplementalGroups: [1000]}"
)


def check_devices(
    devices: int, output: Path, environment: Mapping[str, str], device_files: Path = Path("/dev")
) -> None:
    """Look at all that MindSpore needs to use this Pod's devices.

    Args:
        devices: how many workers will use one each.
        output: where the stage is going to write on the claim; it need not exist yet.
        environment: the variables that the workers will have.
        device_files: directory of the device files.

    Raises:
        WrongInput: DeviceNotReady, which names everything that is wrong and what to do about each.
    """
    problems = [
        *_device_problems(devices, environment.get(_VISIBLE, ""), device_files),
        *_library_problems(environment),
        *_user_problems(),
        *_claim_problems(output),
    ]
    if problems:
        numbered = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems, start=1))
        raise WrongInput("DeviceNotReady", f"the Pod on {socket.gethostname()} cannot use its devices: {numbered}")


def visible_devices(text: str) -> frozenset[int] | None:
    """Read ASCEND_VISIBLE_DEVICES; None where it names no devices by number, and so says nothing."""
    numbers: set[int] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _VISIBLE_ITEM.fullmatch(item)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        numbers.update(range(first, last + 1))
    return frozenset(numbers) or None


def _device_problems(devices: int, visible: str, device_files: Path) -> Iterator[str]:
    found = {
        int(match[1]): path for path in device_files.iterdir() if (match := _DEVICE.fullmatch(path.name)) is not None
    }
    named = visible_devices(visible)
    usable = found if named is None else {number: path for number, path in found.items() if number in named}
    if len(usable) < devices:
        there = ", ".join(path.name for _, path in sorted(found.items())) or "none"
        limited = f", of which {_VISIBLE}={visible} leaves {len(usable)}" if len(usable) < len(found) else ""
        yield (
            f"accelerator.devicesPerNode is {devices}, and the device files {device_files}/davinci<n> that are there "
            f"are {there}{limited}; see that the device plugin gives the Pod its devices (`kubectl describe node`), "
            "and that Ascend Docker Runtime is the node's runtime or named by the profile's runtimeClassName"
        )
    missing = [name for name in _MANAGEMENT if not (device_files / name).exists()]
    if missing:
        yield (
            f"{', '.join(str(device_files / name) for name in missing)} not there; Ascend Docker Runtime brings "
            "them: without it mount them by the profile's volumes"
        )
    files = [path for _, path in sorted(usable.items())]
    files += [device_files / name for name in _MANAGEMENT if name not in missing]
    if closed := [path for path in files if not os.access(path, os.R_OK | os.W_OK)]:
        groups = ",".join(map(str, sorted({os.getgid(), *os.getgroups()})))
        yield (
            f"user {os.getuid()} with groups {groups} may not read and write {', '.join(map(str, closed))}; "
            f"{_GROUP_REMEDY}"
        )


def _library_problems(environment: Mapping[str, str]) -> Iterator[str]:
    if trouble := _loading_trouble(_DRIVER, environment):
        yield (
            f"the driver's library does not load ({trouble}); it is in /usr/local/Ascend/driver/lib64 of the node: "
            "without Ascend Docker Runtime mount it by the profile's volumes, and have LD_LIBRARY_PATH name it"
        )
    opp = environment.get(_OPP, "")
    if not opp or not Path(opp).is_dir():
        said = f"is {opp}, which is no directory" if opp else "is not set"
        yield f"{_OPP} {said}: use an image whose environment has what CANN's set_env.sh sets (images/README.md)"
    elif trouble := _loading_trouble(_CANN, environment):
        yield f"CANN's library does not load ({trouble}); use an image whose environment CANN's set_env.sh has made"


def _loading_trouble(library: str, environment: Mapping[str, str]) -> str:
    """Load a library in a process of its own, which may hang or crash; empty if it loads.

    The linker reads LD_LIBRARY_PATH when a process starts, so it is what the workers will see.
    """
    command = [sys.executable, "-S", "-c", _LOAD, library]
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_LOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{library} was still loading after {_LOAD_SECONDS} s"
    if ended.returncode == 0:
        return ""
    lines = ended.stderr.strip().splitlines()
    return lines[-1].removeprefix("OSError: ") if lines else f"loading {library} ended with {ended.returncode}"


def _user_problems() -> Iterator[str]:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        yield (
            f"user {os.getuid()} has no entry in /etc/passwd, without which HCCL does not initialise; use an image "
            "with one, or set runAsUser in the profile's podSecurityContext to a user that the image has"
        )


def _claim_problems(output: Path) -> Iterator[str]:
    """Write a file beside the output. A full volume is not told here: it may be enlarged."""
    directory = next(parent for parent in output.parents if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0")
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
        yield (
            f"user {os.getuid()} may not write to {directory} on the claim ({error.strerror}); see the claim's access "
            "modes, and fsGroup in stagePodSecurityContext"
        )
