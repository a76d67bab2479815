"""Outputs go back to what the checkpoint speaks of."""

import json
from pathlib import Path

from distill_runtime.contract import Model
from distill_runtime.storage.resumable import GrowingFile, json_line, load_checkpoint, read_lines, save_checkpoint


class State(Model):
    rows_done: int = 0


def test_lines_are_read_from_the_offset_they_came_with(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\nzwei \xc3\xa4\nthree\n")
    lines = list(read_lines(path))
    assert [line for line, _ in lines] == [b"one\n", b"zwei \xc3\xa4\n", b"three\n"]
    assert [line for line, _ in read_lines(path, lines[0][1])] == [b"zwei \xc3\xa4\n", b"three\n"]
    assert list(read_lines(path, lines[-1][1])) == []


def test_a_file_is_cut_back_to_the_size_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with GrowingFile(path, 0) as writer:
        writer.append(json_line({"row": 1}))
        size = writer.size
        writer.append(json_line({"row": 2}))
    with GrowingFile(path, size) as writer:
        writer.append(json_line({"row": 3}))
        writer.sync()
        assert writer.size == path.stat().st_size
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == [1, 3]


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    assert load_checkpoint(path, State()) == State()
    save_checkpoint(path, State(rows_done=7))
    assert load_checkpoint(path, State()) == State(rows_done=7)
