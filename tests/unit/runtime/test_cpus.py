"""A container's limit counts, not the node's processors."""

import os
from pathlib import Path

import pytest

from distill_runtime.cpus import available_cpus


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", len(os.sched_getaffinity(0))),
        ("100000000 100000", len(os.sched_getaffinity(0))),
        (None, len(os.sched_getaffinity(0))),
    ],
)
def test_available_cpus(tmp_path: Path, content: str | None, cpus: int) -> None:
    quota = tmp_path / "cpu.max"
    if content is not None:
        quota.write_text(content)
    assert available_cpus(quota) == cpus
