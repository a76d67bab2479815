"""A container's memory limits how many processes verify, whatever the node has."""

from pathlib import Path

import pytest

from distill_runtime.verification.workers import count_workers, memory_limit

GI = 1 << 30
UNLIMITED_VERSION_1 = 9223372036854771712


@pytest.mark.parametrize(
    ("cpus", "memory", "workers"),
    [
        (192, 4 * GI, 16),
        (192, 2 * GI, 10),
        (192, None, 16),
        (192, UNLIMITED_VERSION_1, 16),
        (2, 4 * GI, 2),
        (192, GI // 8, 1),
    ],
)
def test_workers(cpus: int, memory: int | None, workers: int) -> None:
    assert count_workers(cpus, memory) == workers


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("memory.max", "4294967296\n", 4 * GI),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2147483648\n", 2 * GI),
        ("memory/memory.limit_in_bytes", f"{UNLIMITED_VERSION_1}\n", UNLIMITED_VERSION_1),
        ("memory/memory.usage_in_bytes", "1\n", None),
    ],
)
def test_memory_limit(tmp_path: Path, name: str, content: str, limit: int | None) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert memory_limit(tmp_path) == limit
