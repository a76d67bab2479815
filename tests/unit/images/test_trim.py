"""What `trim.py` takes from the runtime image, held against what the wheels of each architecture install."""

import platform
import sysconfig
from pathlib import Path

import pytest
from support.installed import LOOKED_INTO, outline

from images.runtime import trim
from tests.cluster.settings import REPOSITORY

INSTALLED = Path(__file__).parent / "installed"
OF_NO_USE_ON_A_CPU = {
    "cv2/",
    "jieba/lac_small/",
    "mindspore/_akg/",
    "mindspore/include/",
    "mindspore/lib/plugin/ascend/",
    "mindspore/lib/plugin/cpu/libakg.so",
    "mindspore/lib/plugin/libmindspore_ascend.so.2",
    "mindspore/lib/plugin/libmindspore_ops_ascend.so",
    "nltk/test/",
    "opencv_python_headless-4.11.0.86.dist-info/",
    "opencv_python_headless.libs/",
    "pyarrow/include/",
    "pyarrow/libarrow_flight.so.1900",
    "pyarrow/libarrow_python_flight.so",
    "pyarrow/libarrow_python_flight.so.1900",
    "pyarrow/libarrow_python_flight.so.1900.0.0",
    "pyarrow/tests/",
}
REMOVED = {
    "x86_64": OF_NO_USE_ON_A_CPU
    | {
        "mindspore/lib/plugin/gpu/",
        "mindspore/lib/plugin/gpu11.1/",
        "mindspore/lib/plugin/gpu11.6/",
        "mindspore/lib/plugin/libmindspore_gpu.so.11.1",
        "mindspore/lib/plugin/libmindspore_gpu.so.11.6",
        "pyarrow/_flight.cpython-311-x86_64-linux-gnu.so",
    },
    "aarch64": OF_NO_USE_ON_A_CPU | {"pyarrow/_flight.cpython-311-aarch64-linux-gnu.so"},
}


def installed(machine: str) -> set[str]:
    return set((INSTALLED / f"{machine}.txt").read_text().splitlines())


@pytest.fixture
def folder(machine: str, tmp_path: Path) -> Path:
    """A folder with the names of what the wheels install, and nothing in them."""
    for name in installed(machine):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    return tmp_path


@pytest.mark.parametrize("machine", REMOVED)
def test_what_is_of_no_use_on_a_cpu_is_removed_and_nothing_else(machine: str, folder: Path) -> None:
    trim.main(folder, machine, "CPU")
    assert installed(machine) - set(outline(folder)) == REMOVED[machine]


@pytest.mark.parametrize("machine", REMOVED)
def test_for_npus_all_of_mindspore_stays_but_what_is_for_gpus(machine: str, folder: Path) -> None:
    trim.main(folder, machine, "Ascend")
    removed = installed(machine) - set(outline(folder))
    kept = {name for name in REMOVED[machine] if name.startswith("mindspore/") and "gpu" not in name}
    assert removed == REMOVED[machine] - kept
    assert "mindspore/lib/plugin/libmindspore_ascend.so.2" in kept


@pytest.mark.parametrize("devices", trim.KEPT)
def test_what_is_kept_is_something_that_would_be_removed(devices: str) -> None:
    assert set(trim.KEPT[devices]) <= trim.EVERYWHERE.keys()


@pytest.mark.parametrize("machine", ["x86_64"])
def test_a_wheel_that_has_changed_ends_the_build(folder: Path) -> None:
    (folder / "mindspore/lib/plugin/cpu/libakg.so").unlink()
    with pytest.raises(SystemExit, match=r"nothing in .* matches mindspore/lib/plugin/cpu/libakg.so"):
        trim.main(folder, "x86_64", "CPU")


def test_an_architecture_without_a_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no wheel for riscv64, only for x86_64 and aarch64"):
        trim.main(tmp_path, "riscv64", "CPU")


@pytest.mark.parametrize("machine", REMOVED)
def test_the_names_are_those_of_the_locked_versions(machine: str) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text().splitlines()
    locked = {line.replace("-", "_").replace("==", "-") + ".dist-info/" for line in lock}
    named = {name for name in installed(machine) if name.endswith(".dist-info/")}
    assert len(named) == 5
    assert named <= locked


def test_the_names_are_those_of_the_wheels_that_are_installed_here() -> None:
    packages = tuple(f"{place}/" for place in LOOKED_INTO[1:])
    here = {name for name in outline(Path(sysconfig.get_path("purelib"))) if name.startswith(packages)}
    assert here == {name for name in installed(platform.machine()) if name.startswith(packages)}
