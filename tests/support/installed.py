"""What a folder of installed packages holds, as far as images/runtime/trim.py is concerned.

tests/unit/images/installed/ has it of the wheels for each architecture. Where requirements.lock names other versions,
write it anew:

    for machine in x86_64 aarch64; do
      uv pip install --no-deps --target /tmp/$machine --python-platform $machine-manylinux_2_28 $(grep -E \
        '^(mindspore|opencv-python-headless|pyarrow|jieba|nltk)==' requirements.lock)
      python tests/support/installed.py /tmp/$machine > tests/unit/images/installed/$machine.txt
    done
"""

import sys
from collections.abc import Iterator
from pathlib import Path

LOOKED_INTO = (".", "mindspore", "mindspore/lib/plugin", "mindspore/lib/plugin/cpu", "pyarrow", "jieba", "nltk")
SOURCES = {".py", ".pyx", ".pxd", ".pxi", ".h"}


def outline(folder: Path) -> Iterator[str]:
    """Give the names in the folders that trim.py looks into, those of folders with a slash; sources are left out."""
    for place in LOOKED_INTO:
        for path in sorted((folder / place).iterdir()):
            if path.suffix not in SOURCES and path.name not in ("__pycache__", ".lock"):
                yield path.relative_to(folder).as_posix() + "/" * path.is_dir()


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in outline(Path(sys.argv[1])))
