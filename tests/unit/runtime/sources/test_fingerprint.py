"""What tells a source from what may be at the same place later."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from support.hub import Repository, hub
from support.local_server import LocalHandler, serve
from support.object_store import object_store

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.fingerprint import fingerprint_source
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import find_files
from distill_runtime.storage.volume import Volume

ROWS = b'{"problem":"p","answer":"1"}\n'
OTHERS = b'{"problem":"p","answer":"2"}\n'


def value(root: Path, uri: str = "rows", selection: Selection = Selection()) -> str:  # noqa: B008 - frozen
    return fingerprint_source("prompts", uri, Volume(root), selection).value


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "rows" / "deep").mkdir(parents=True)
    for name, content in {"a.jsonl": ROWS, "deep/b.jsonl": ROWS, "c.jsonl.gz": gzip.compress(ROWS, mtime=0)}.items():
        (tmp_path / "rows" / name).write_bytes(content)
    return tmp_path


CHANGES: dict[str, Callable[[Path], object]] = {
    "same-size": lambda rows: (rows / "a.jsonl").write_bytes(OTHERS),
    "compressed": lambda rows: (rows / "c.jsonl.gz").write_bytes(gzip.compress(OTHERS, mtime=0)),
    "one-more": lambda rows: (rows / "d.jsonl").write_bytes(ROWS),
    "one-fewer": lambda rows: (rows / "a.jsonl").unlink(),
    "renamed": lambda rows: (rows / "a.jsonl").rename(rows / "z.jsonl"),
    "another-link": lambda rows: ((rows / "a.jsonl").unlink(), (rows / "a.jsonl").symlink_to(rows / "c.jsonl.gz")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_content_has_another_value(volume: Path, change: Callable[[Path], object]) -> None:
    before = value(volume)
    change(volume / "rows")
    assert value(volume) != before


def test_the_same_content_has_the_same_value(volume: Path) -> None:
    before = value(volume)
    os.utime(volume / "rows" / "a.jsonl", (1, 1))
    (volume / "rows" / "README.md").write_text("no rows")
    shutil.copytree(volume / "rows", volume / "copy")
    shutil.rmtree(volume / "rows")
    (volume / "rows").symlink_to("copy")
    assert value(volume) == before


def test_only_the_split_that_is_read_counts(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for split in ("train", "test"):
        (tmp_path / "rows" / f"{split}.jsonl").write_bytes(ROWS)
    before = value(tmp_path, selection=Selection(split="test"))
    (tmp_path / "rows" / "train.jsonl").write_bytes(OTHERS)
    assert value(tmp_path, selection=Selection(split="test")) == before


def test_a_directory_without_rows_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    with pytest.raises(WrongInput) as error:
        value(tmp_path)
    assert error.value.reason == "EmptySource"


class Files(LocalHandler):
    headers_of: ClassVar[dict[str, str]]

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        self.answer(200, ROWS, self.headers_of)


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_web_server_says_when_a_file_is_another(tmp_path: Path, header: str) -> None:
    class Handler(Files):
        headers_of: ClassVar = {header: "first"}

    with serve(Handler) as url:
        before = value(tmp_path, f"{url}/rows.jsonl")
        assert "first" in before
        assert value(tmp_path, f"{url}/rows.jsonl") == before
        Handler.headers_of = {header: "second"}
        assert value(tmp_path, f"{url}/rows.jsonl") != before


def test_an_object_store_says_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("AWS_ACCESS_KEY_ID", "KEY"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    values = []
    for stored in ({"rows/a.jsonl": ROWS}, {"rows/a.jsonl": ROWS * 2}):
        with object_store("bucket", stored, readable_with="KEY") as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            values += [value(tmp_path, "s3://bucket/rows"), value(tmp_path, "s3://bucket/rows/a.jsonl")]
    assert values[0] == values[1] != values[2] == values[3]
    assert values[0].startswith(f"{len(ROWS)} bytes, 2026-01-01")


def test_of_the_hub_the_files_count_that_are_read_and_no_other_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = []
    for rows, card in ((ROWS, b"one"), (ROWS, b"two"), (OTHERS, b"two")):
        with hub(Repository("o/n", {"a.jsonl": rows, "README.md": card})) as endpoint:
            monkeypatch.setenv("HF_ENDPOINT", endpoint)
            values.append(value(tmp_path, "hf://o/n"))
    assert values[0] == values[1] != values[2]


def test_a_push_to_the_hub_does_not_reach_what_is_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository("o/n", {"a.jsonl": ROWS})
    with hub(repository) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        (file,) = find_files("hf://o/n", Volume(tmp_path), Selection())
        with file.open() as stream:
            assert stream.read() == ROWS
    assert set(repository.resolved) == {repository.commit}
