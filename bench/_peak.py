"""The memory of all descendants of this process together, sampled while something runs."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_EVERY_SECONDS = 0.1


class PeakMemory:
    """Samples from entering to leaving.

    Attributes:
        bytes: the largest sum of their resident sets so far; what they share counts for each.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            self.bytes = max(self.bytes, sum(_resident_set_size(process) for process in _descendants(os.getpid())))


def _descendants(process: int) -> Iterator[int]:
    try:
        children = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # it has ended meanwhile
        return
    for child in map(int, " ".join(children).split()):
        yield child
        yield from _descendants(child)


def _resident_set_size(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except OSError:  # it has ended meanwhile
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
