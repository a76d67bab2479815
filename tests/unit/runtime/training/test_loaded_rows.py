"""MindFormers' loader leaves the packed data in its files, and reads a row when it is its turn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import loaded_rows

from distill_runtime.packing.sequences import SequenceWriter, sequence_batch, write_index

pytestmark = pytest.mark.mindspore

ROWS, LENGTH = 24_576, 256
IN_MEMORY = ROWS * LENGTH * 2 * 8
"""Bytes that input_ids and labels take as int64, as MindFormers' loader kept them until 1.6."""


def test_rows_stay_in_their_files_and_come_shuffled(tmp_path: Path) -> None:
    written = write_sequences(tmp_path)
    script = subprocess.run(
        [sys.executable, loaded_rows.__file__, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(script.stdout.splitlines()[-1])
    assert loaded["grown"] < 0.7 * IN_MEMORY
    place = {row.tobytes(): index for index, row in enumerate(written)}
    places = [place[np.array(row, np.int32).tobytes()] for row in loaded["rows"]]
    assert len(set(places)) == loaded_rows.FIRST_ROWS
    assert max(places) > 10 * loaded_rows.FIRST_ROWS


def write_sequences(directory: Path) -> NDArray[np.int32]:
    """Write sequences of one to five samples, of which the last does not fill all of them; gives their tokens."""
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
    return input_ids
