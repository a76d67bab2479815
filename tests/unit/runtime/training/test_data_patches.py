"""The data set is left in its files, and gives the same rows in the same order."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import loaded_rows

from distill_runtime.packing.sequences import SequenceWriter, sequence_batch, write_index

pytestmark = pytest.mark.mindspore

ROWS, LENGTH = 24_576, 256
IN_MEMORY = ROWS * LENGTH * 2 * 8
"""Bytes that input_ids and labels take as int64."""


def test_rows_stay_in_their_files_and_are_the_same_in_the_same_order(tmp_path: Path) -> None:
    write_sequences(tmp_path)
    plain, patched = load(tmp_path, "plain"), load(tmp_path, "patched")
    assert patched["rows"] == plain["rows"]
    assert len(set(plain["rows"])) > loaded_rows.FIRST_ROWS
    assert plain["grown"] > IN_MEMORY  # when this fails, MindFormers reads rows as it needs them, and the patch can go
    assert patched["grown"] < 0.7 * IN_MEMORY


def write_sequences(directory: Path) -> None:
    """Write sequences of one to five samples, of which the last does not fill all of them."""
    generator = np.random.default_rng(0)
    input_ids = generator.integers(0, 1000, (ROWS, LENGTH), np.int32)
    labels = np.where(generator.random((ROWS, LENGTH)) < 0.5, input_ids, -100).astype(np.int32)
    samples = generator.integers(1, 6, ROWS)
    ends = [np.sort(generator.choice(np.arange(1, LENGTH + 1), count, replace=False)) for count in samples]
    writer = SequenceWriter(directory, ())
    with writer.next_file() as stream:
        offsets = np.concatenate(([0], np.cumsum(samples))).astype(np.int32)
        stream.write_batch(sequence_batch(input_ids, labels, np.concatenate(ends).astype(np.int32), offsets))
    write_index(directory, writer.files, "0")


def load(directory: Path, how: str) -> dict[str, Any]:
    script = subprocess.run(
        [sys.executable, loaded_rows.__file__, str(directory), how],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded: dict[str, Any] = json.loads(script.stdout.splitlines()[-1])
    return loaded
