import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from support.local_server import LocalHandler, serve
from support.object_store import object_store

from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.sources.formats import ColumnarFormat, format_of
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import open_table
from distill_runtime.storage.volume import Volume

ROWS = [{"problem": f"p{number}", "answer": str(number), "other": [number]} for number in range(2500)]
COLUMNS = {"promptColumn": "problem", "answerColumn": "answer"}


WHOLE = Selection()


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_arrow_stream(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def comma_separated(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(json_lines(ROWS)),
    "rows.ndjson": lambda path: path.write_bytes(json_lines(ROWS)),
    "rows.json": lambda path: path.write_bytes(json_lines(ROWS)),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(json_lines(ROWS))),
    "rows.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(json_lines(ROWS))),
    "rows.jsonl.xz": lambda path: path.write_bytes(lzma.compress(json_lines(ROWS))),
    "rows.jsonl.zst": lambda path: path.write_bytes(pa.compress(json_lines(ROWS), "zstd", asbytes=True)),
    "rows.csv": lambda path: path.write_bytes(comma_separated(ROWS)),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(comma_separated(ROWS))),
    "rows.parquet": lambda path: pa.parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=700),
    "rows.arrow": write_arrow_stream,
    "rows.feather": lambda path: pa.feather.write_feather(pa.Table.from_pylist(ROWS), path),
}


def read(directory: Path, uri: str, selection: Selection = WHOLE) -> list[tuple[str, str]]:
    rows = open_table(uri, Volume(directory), COLUMNS, selection).rows()
    return [(row["problem"], row["answer"]) for row in rows]


EXPECTED = [(row["problem"], row["answer"]) for row in ROWS]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read(tmp_path, name) == EXPECTED


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_counted_without_being_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    (file,) = open_table(name, Volume(tmp_path), COLUMNS, WHOLE).files
    assert format_of(file).count(file) == len(ROWS)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "rows.feather"])
def test_columns_are_read_some_rows_at_a_time(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    (file,) = open_table(name, Volume(tmp_path), COLUMNS, WHOLE).files
    columns = format_of(file)
    assert isinstance(columns, ColumnarFormat)
    batches = list(columns.batches(file, ["answer"], 400))
    assert max(batch.num_rows for batch in batches) == 400
    assert [answer for batch in batches for answer in batch["answer"].to_pylist()] == [row["answer"] for row in ROWS]


def test_a_column_that_may_be_missing_is_read_where_every_file_has_it(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for name, columns in (("a", {"uuid": ["1"], "note": ["x"]}), ("b", {"uuid": ["2"]})):
        pa.parquet.write_table(pa.table({"problem": ["p"], **columns}), tmp_path / "rows" / f"{name}.parquet")
    table = open_table("rows", Volume(tmp_path), {"promptColumn": "problem"}, WHOLE, ["uuid", "note"])
    assert list(table.rows()) == [{"problem": "p", "uuid": "1"}, {"problem": "p", "uuid": "2"}]


def test_a_directory_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "rows" / "deep").mkdir(parents=True)
    (tmp_path / "rows" / "b.jsonl").write_bytes(json_lines(ROWS[2:3]))
    (tmp_path / "rows" / "a.jsonl.gz").write_bytes(gzip.compress(json_lines(ROWS[:2])))
    (tmp_path / "rows" / "deep" / "c.jsonl").write_bytes(json_lines(ROWS[3:5]))
    (tmp_path / "rows" / "README.md").write_text("not rows")
    (tmp_path / "rows" / "empty.jsonl").touch()
    assert read(tmp_path, "rows") == EXPECTED[:5]


def test_a_directory_that_datasets_saved_is_read_in_its_own_order(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"), num_shards=12)
    assert read(tmp_path, "saved") == EXPECTED


def test_a_split_is_chosen_from_what_datasets_saved(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:3])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert read(tmp_path, "saved") == EXPECTED
    assert read(tmp_path, "saved", Selection(split="test")) == EXPECTED[:3]
    with pytest.raises(WrongInput, match="saved has no split 'dev'; it has train, test"):
        read(tmp_path, "saved", Selection(split="dev"))


def test_a_copy_of_a_data_set_of_the_hub_keeps_its_splits(tmp_path: Path) -> None:
    (tmp_path / "copy" / "data").mkdir(parents=True)
    (tmp_path / "copy" / "data" / "train-00000-of-00001.jsonl").write_bytes(json_lines(ROWS))
    (tmp_path / "copy" / "data" / "test-00000-of-00001.jsonl").write_bytes(json_lines(ROWS[:2]))
    assert read(tmp_path, "copy", Selection(split="test")) == EXPECTED[:2]
    assert len(read(tmp_path, "copy")) == len(ROWS) + 2
    (tmp_path / "copy" / "README.md").write_text("---\nconfigs:\n- data_files: data/train-*\n---\n")
    assert read(tmp_path, "copy") == EXPECTED


def test_a_url_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(json_lines(ROWS)))
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert read(tmp_path, f"http://127.0.0.1:{server.server_port}/rows.jsonl.gz") == EXPECTED
        with pytest.raises(WrongInput, match="nothing to read at"):
            read(tmp_path, f"http://127.0.0.1:{server.server_port}/other.jsonl")
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    WRITERS["rows.parquet"](tmp_path / "rows.parquet")
    stored = {
        "prompts/a.jsonl.gz": gzip.compress(json_lines(ROWS[:10])),
        "prompts/deep/b.parquet": (tmp_path / "rows.parquet").read_bytes(),
        "prompts/notes.txt": b"",
    }
    with object_store("bucket", stored, readable_with="AKIAGOOD") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.mark.usefixtures("bucket")
def test_a_bucket_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAGOOD")
    assert read(tmp_path, "s3://bucket/prompts") == EXPECTED[:10] + EXPECTED
    assert read(tmp_path, "s3://bucket/prompts/deep/b.parquet") == EXPECTED
    with pytest.raises(WrongInput, match="nothing to read at s3://bucket/other"):
        read(tmp_path, "s3://bucket/other")


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_the_key_does_not_open_is_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIABAD")
    with pytest.raises(WrongInput, match="no permission to read s3://bucket/prompts"):
        read(tmp_path, "s3://bucket/prompts")


def test_a_quoted_value_has_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'problem,answer\r\n"a ""b"",\nc",1\r\n\r\nd,2\r\n')
    assert read(tmp_path, "rows.csv") == [('a "b",\nc', "1"), ("d", "2")]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/rows.jsonl", "http://nowhere.invalid/rows.jsonl"])
def test_a_server_that_does_not_answer_may_answer_later(tmp_path: Path, uri: str) -> None:
    with pytest.raises(Retryable, match=f"{uri} cannot be reached") as error:
        read(tmp_path, uri)
    assert error.value.reason == "SourceUnreachable"


# Without a time in them: each process that tests must know a test by the same name.
CUT_OFF_CSV = gzip.compress(b"problem,answer\np,1\n", mtime=0)[:-9]
CUT_OFF_JSON = gzip.compress(json_lines(ROWS), mtime=0)[:900]


@pytest.mark.parametrize(
    ("name", "content", "reason", "message"),
    [
        ("rows.jsonl", b'{"question":"q","answer":"1"}\n', "ColumnMissing", "'problem' .*; it has question"),
        ("rows.jsonl", b"", "EmptySource", "has no rows"),
        ("rows.jsonl", b'{"problem":"p","answer":"1"}\nnot json\n', "MalformedRow", "line 2 of .* is not JSON"),
        ("rows.jsonl", b'{"problem":"p","answer":"1"}\n[1]\n', "MalformedRow", "line 2 .* is not a JSON object"),
        ("rows.tsv", b"problem\tanswer\n", "UnknownFormat", r"rows\.tsv .* must end in one of \.jsonl"),
        ("rows.csv", b"", "EmptySource", "has no rows"),
        ("rows.csv", b"problem,answer\np,1\np\n", "MalformedRow", "line 3 .* ends a row of 1 values, the header has 2"),
        ("rows.csv", b'problem,answer\n"p,1\n', "MalformedRow", "line 2 of .* is not CSV"),
        ("rows.csv", b"problem,answer\n\xff,1\n", "MalformedFile", r"rows\.csv cannot be read"),
        ("rows.csv.gz", CUT_OFF_CSV, "MalformedFile", r"rows\.csv\.gz cannot be read"),
        ("rows.parquet", b"PAR0 nothing of the kind", "MalformedFile", r"rows\.parquet cannot be read"),
        ("rows.jsonl.gz", CUT_OFF_JSON, "MalformedFile", r"rows\.jsonl\.gz cannot be read"),
        ("rows.jsonl.gz", b"nothing of the kind", "MalformedFile", r"rows\.jsonl\.gz cannot be read"),
        ("rows.jsonl.bz2", b"nothing of the kind", "MalformedFile", r"rows\.jsonl\.bz2 cannot be read"),
        ("rows.jsonl.zst", b"nothing of the kind", "MalformedFile", r"rows\.jsonl\.zst cannot be read"),
        ("rows.jsonl.xz", b"nothing of the kind", "MalformedFile", r"rows\.jsonl\.xz cannot be read"),
        ("rows.arrow", b"nothing of the kind at all", "MalformedFile", r"rows\.arrow cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_explained(tmp_path: Path, name: str, content: bytes, reason: str, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongInput, match=message) as error:
        read(tmp_path, name)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("uri", "reason", "message"),
    [
        ("absent.jsonl", "SourceMissing", "no absent.jsonl on the volume"),
        ("nowhere://x/rows.jsonl", "SchemeUnsupported", "nowhere"),
        ("empty", "EmptySource", r"the directory empty has no file that ends in \.jsonl"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, uri: str, reason: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongInput, match=message) as error:
        read(tmp_path, uri)
    assert error.value.reason == reason


def damaged_parquet(root: Path) -> None:
    """Overwrite the pages, but not the footer, of which the columns are known."""
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), root / "rows.parquet", compression="snappy")
    content = bytearray((root / "rows.parquet").read_bytes())
    content[4:4000] = bytes(3996)
    (root / "rows.parquet").write_bytes(content)


def cut_arrow(root: Path) -> None:
    write_arrow_stream(root / "rows.arrow")
    content = (root / "rows.arrow").read_bytes()
    (root / "rows.arrow").write_bytes(content[: len(content) * 2 // 3])


def no_text(root: Path, write: Callable[[pa.Table, Path], object], name: str) -> None:
    """Have bytes called text that are no UTF-8."""
    binary = pa.array([b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 1, binary.buffers())
    write(pa.table({"problem": text, "answer": ["1"]}), root / name)


def feather(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "damaged.parquet": damaged_parquet,
    "cut.arrow": cut_arrow,
    "no-text.parquet": lambda root: no_text(root, pa.parquet.write_table, "rows.parquet"),
    "no-text.arrow": lambda root: no_text(root, feather, "rows.arrow"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(tmp_path)
    (name,) = (path.name for path in tmp_path.iterdir())
    with pytest.raises(WrongInput, match=f"{name} cannot be read as what its name says") as error:
        read(tmp_path, name)
    assert error.value.reason == "MalformedFile"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", b"{", "state.json cannot be read"),
        ("state.json", b'{"_data_files": [{"filename": "../secret.arrow"}]}', "'../secret.arrow' is no name"),
        ("state.json", b'{"_data_files": [{"filename": "/etc/secret.arrow"}]}', "'/etc/secret.arrow' is no name"),
        ("dataset_dict.json", b'{"splits": [".."]}', "'..' is no name"),
        ("dataset_dict.json", b'{"splits": 1}', r"dataset_dict\.json cannot be read"),
        ("README.md", b"---\nconfigs: [\n---\n", r"README\.md of rows begins with metadata that is no YAML"),
        ("README.md", b"---\nconfigs:\n- data_files: [{split: train}]\n---\n", "in a form that is not the hub's"),
    ],
)
def test_a_damaged_description_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_bytes(json_lines(ROWS[:1]))
    (tmp_path / "rows" / name).write_bytes(content)
    with pytest.raises(WrongInput, match=message) as error:
        read(tmp_path, "rows")
    assert error.value.reason == "MalformedFile"


def test_a_readme_in_another_encoding_declares_what_it_declares(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_bytes(json_lines(ROWS[:1]))
    (tmp_path / "rows" / "README.md").write_bytes("Données".encode("latin-1"))
    assert read(tmp_path, "rows") == EXPECTED[:1]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "b.jsonl").write_bytes(json_lines(ROWS[1:2]))
    (tmp_path / "a").write_bytes(json_lines(ROWS[:1]))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").symlink_to(tmp_path / "a")
    (tmp_path / "rows" / "linked").symlink_to(tmp_path / "elsewhere")
    assert read(tmp_path, "rows") == EXPECTED[:2]


@pytest.mark.parametrize("name", ["b.jsonl", "more"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_bytes(json_lines(ROWS[:1]))
    (tmp_path / "rows" / name).symlink_to("/not/on/the/claim")
    for uri in ("rows", f"rows/{name}"):
        with pytest.raises(WrongInput, match=f"rows/{name} is a link to /not/on/the/claim") as error:
            read(tmp_path, uri)
        assert error.value.reason == "SourceMissing"


def test_a_link_to_a_directory_that_it_is_in_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "again").symlink_to(tmp_path / "rows")
    with pytest.raises(WrongInput, match="rows/again is a link to a directory that it is in itself"):
        read(tmp_path, "rows")


def test_a_file_of_a_saved_data_set_that_is_missing_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS[:4]).save_to_disk(str(tmp_path / "saved"), num_shards=2)
    (tmp_path / "saved" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(WrongInput, match=r"data-00001-of-00002\.arrow, of which its directory tells, is not there"):
        read(tmp_path, "saved")


@pytest.mark.parametrize(
    "scheme",
    ["file://", "local://", "FILE://", "simplecache::file://", "http://x::file://", "zip://a::", "reference://"],
)
def test_no_url_leads_to_a_file_of_the_container(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(json_lines(ROWS[:1]))
    with pytest.raises((WrongInput, Retryable)) as error:
        read(tmp_path, f"{scheme}{tmp_path}/rows.jsonl")
    expected = "SourceUnreachable" if scheme.startswith("http") else "SchemeUnsupported"
    assert error.value.reason == expected


class Breaking(LocalHandler):
    """Has rows, and breaks off in the middle of them, with or without having said how many there are."""

    content = json_lines(ROWS)
    tells_size = True

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        self.send_response(200)
        if self.tells_size:
            self.send_header("Content-Length", str(len(self.content)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            half = self.content[: len(self.content) // 2]
            self.wfile.write(half if self.tells_size else b"%x\r\n%b\r\n" % (len(half), half))
            self.close_connection = True


@pytest.mark.parametrize("tells", [True, False], ids=["of-known-size", "chunked"])
def test_a_download_that_is_cut_off_may_be_whole_the_next_time(tmp_path: Path, tells: bool) -> None:
    class Handler(Breaking):
        tells_size = tells

    with serve(Handler) as url, pytest.raises(Retryable, match=rf"{url}/rows\.jsonl cannot be reached") as error:
        read(tmp_path, f"{url}/rows.jsonl")
    assert error.value.reason == "SourceUnreachable"


def test_a_column_that_only_some_files_have_is_missed_before_any_row_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_bytes(json_lines(ROWS[:1]))
    pa.parquet.write_table(pa.table({"problem": ["p"]}), tmp_path / "rows" / "b.parquet")
    with pytest.raises(WrongInput, match=r"b\.parquet has no column 'answer' \(answerColumn\); it has problem"):
        open_table("rows", Volume(tmp_path), COLUMNS, WHOLE)
