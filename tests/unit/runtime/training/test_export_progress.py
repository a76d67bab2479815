"""How far an export is."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_runtime.process.progress import Reporter
from distill_runtime.training import export_progress
from distill_runtime.training.export_progress import growth_reported


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_as_far_as_there_are_bytes_and_no_further_than_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_progress, "_POLL_SECONDS", 0.01)
    reporter = Reporter("export", "MB")
    unified, partial = tmp_path / "unified", tmp_path / "partial"
    partial.mkdir()
    with growth_reported([unified, partial], 10_000_000, reporter):
        assert (reporter.snapshot().done, reporter.snapshot().total) == (0, 10)
        unified.mkdir()
        (unified / "part0.tmp").write_bytes(bytes(4_000_000))
        eventually(lambda: reporter.snapshot().done == 4)
        (partial / "model.safetensors").write_bytes(bytes(5_000_000))
        eventually(lambda: reporter.snapshot().done == 9)
        partial.rename(tmp_path / "complete")
        (unified / "part1.tmp").write_bytes(bytes(40_000_000))
        eventually(lambda: reporter.snapshot().done == 10)


def test_one_that_fails_is_not_done(tmp_path: Path) -> None:
    reporter = Reporter("export", "MB")
    with pytest.raises(OSError, match="full"), growth_reported([tmp_path], 10_000_000, reporter):
        raise OSError("full")
    assert reporter.snapshot().done == 0
