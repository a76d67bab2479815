"""Remove from this Python's packages what the stages never load, and say what each saved: `trim.py CPU|Ascend`."""

import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

# On a CPU. Found by training a step, loading a dataset and comparing /proc/self/maps with what the wheels hold.
EVERYWHERE = {
    "MindSpore for Ascend": ("mindspore/lib/plugin/ascend", "mindspore/lib/plugin/libmindspore_*ascend*"),
    "MindSpore's kernel generator (AKG)": ("mindspore/_akg", "mindspore/lib/plugin/cpu/libakg.so"),
    "MindSpore's C++ headers, for custom operators": ("mindspore/include",),
    "OpenCV, which only image pipelines use": ("cv2", "opencv_python_headless*"),
    "Arrow's RPC and C++ headers": ("pyarrow/*flight*", "pyarrow/include"),
    "jieba's neural model": ("jieba/lac_small",),
    "test suites": ("**/tests", "nltk/test"),
}
MACHINES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "x86_64": {
        "MindSpore for GPUs": ("mindspore/lib/plugin/gpu*", "mindspore/lib/plugin/libmindspore_gpu*"),
        **EVERYWHERE,
    },
    "aarch64": EVERYWHERE,  # its wheel has no plugin for GPUs
}
"""What is removed, and by which patterns, on each architecture that MindSpore has wheels for."""
KEPT: Mapping[str, tuple[str, ...]] = {
    "CPU": (),
    # MindSpore's own plugin, and what it may compile operators with.
    "Ascend": (
        "MindSpore for Ascend",
        "MindSpore's kernel generator (AKG)",
        "MindSpore's C++ headers, for custom operators",
    ),
}
"""What of that stays, by the devices that the image is for."""


def size(path: Path) -> int:
    """Give the bytes that a file, or the files in a folder, take."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def remove(folder: Path, patterns: Iterable[str]) -> int:
    """Remove what matches any pattern; give the bytes that took, and fail if nothing matched a pattern."""
    saved = 0
    for pattern in patterns:
        found = [path for path in folder.glob(pattern) if path.exists()]
        if not found:
            raise SystemExit(f"nothing in {folder} matches {pattern}: the wheel has changed, look at trim.py again")
        for path in found:
            if path.exists():  # not gone with a folder above it
                saved += size(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return saved


def main(folder: Path, machine: str, devices: str) -> None:
    """Remove all that is of no use to these devices, and print MB before, saved by each removal, and after."""
    if machine not in MACHINES:
        raise SystemExit(f"MindSpore has no wheel for {machine}, only for {' and '.join(MACHINES)}")
    lines = [f"{size(folder) / 1e6:8.1f} MB in {folder}"]
    removed = {what: patterns for what, patterns in MACHINES[machine].items() if what not in KEPT[devices]}
    lines += [f"{-remove(folder, patterns) / 1e6:8.1f} MB {what}" for what, patterns in removed.items()]
    lines += [f"{size(folder) / 1e6:8.1f} MB left"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sysconfig.get_path("purelib")), platform.machine(), sys.argv[1])
