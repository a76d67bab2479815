"""How the rows of one file are read, by format, without holding more than a batch of them in memory."""

import csv
import io
import lzma
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.files import DataFile, Stream, malformed_file

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

Row = Mapping[str, Any]

_BATCH_ROWS = 1024
_HEAD_ROWS = 100


class Format(Protocol):
    """A way to store rows."""

    def columns(self, file: DataFile) -> Sequence[str]:
        """Give the columns' names without reading the rows; none for an empty file."""

    def count(self, file: DataFile) -> int:
        """Count the rows without making anything of them."""

    def rows(self, file: DataFile, columns: Sequence[str]) -> Iterator[Row]:
        """Read these columns, row by row; a row may lack one where the format allows it."""


@runtime_checkable
class ColumnarFormat(Format, Protocol):
    """A way to store rows by the column, whose values are then read without making Python objects of them."""

    def schema(self, file: DataFile) -> Any:
        """Give names and types of the columns (`pyarrow.Schema`)."""

    def batches(self, file: DataFile, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[Any]:
        """Read these columns, at most so many rows at a time (`pyarrow.RecordBatch`)."""


class JsonLines:
    """One JSON object a line; blank lines are skipped."""

    def columns(self, file: DataFile) -> Sequence[str]:
        """Give every name that the first hundred rows have: a row may leave out what it has no value for."""
        return list(dict.fromkeys(name for row in islice(self.rows(file, ()), _HEAD_ROWS) for name in row))

    def count(self, file: DataFile) -> int:
        """Count the lines that are not blank."""
        with file.open() as stream:
            return sum(not line.isspace() for line in iter(lambda: _read_line(file, stream), b""))

    def rows(self, file: DataFile, columns: Sequence[str]) -> Iterator[Row]:
        """Read whole rows, whatever columns are asked for.

        Raises:
            WrongInput: MalformedRow, with the line's number.
        """
        number = 0
        with file.open() as stream:
            while line := _read_line(file, stream):
                number += 1
                if line.isspace():
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise _malformed(file, number, f"is not JSON ({error})") from error
                if not isinstance(row, dict):
                    raise _malformed(file, number, "is not a JSON object")
                yield row


class Csv:
    """Comma-separated values with a header (RFC 4180), all of them texts; a quoted one may have line breaks."""

    def columns(self, file: DataFile) -> Sequence[str]:
        """Read the header."""
        with file.open() as stream:
            return self._header(file, csv.reader(_text_lines(file, stream), strict=True))

    def count(self, file: DataFile) -> int:
        """Count the records."""
        return sum(1 for _ in self.rows(file, ()))

    def rows(self, file: DataFile, columns: Sequence[str]) -> Iterator[Row]:
        """Read whole rows, whatever columns are asked for.

        Raises:
            WrongInput: MalformedRow, with the line's number, for one with more or fewer values than the header.
        """
        with file.open() as stream:
            reader = csv.reader(_text_lines(file, stream), strict=True)
            header = self._header(file, reader)
            while (values := _next_record(file, reader)) is not None:
                if not values:
                    continue
                if len(values) != len(header):
                    problem = f"ends a row of {len(values)} values, the header has {len(header)}"
                    raise _malformed(file, reader.line_num, problem)
                yield dict(zip(header, values, strict=True))

    def _header(self, file: DataFile, reader: "CsvReader") -> Sequence[str]:
        return _next_record(file, reader) or []


class Parquet:
    """Apache Parquet, by row groups."""

    def schema(self, file: DataFile) -> Any:
        """Read the footer."""
        import pyarrow.parquet  # noqa: PLC0415 - 0.2 s

        with _readable(file), file.open() as stream:
            return pyarrow.parquet.read_schema(stream)

    def columns(self, file: DataFile) -> Sequence[str]:
        """Read the footer."""
        return list(self.schema(file).names)

    def count(self, file: DataFile) -> int:
        """Read the footer."""
        import pyarrow.parquet  # noqa: PLC0415

        with _readable(file), file.open() as stream:
            return int(pyarrow.parquet.read_metadata(stream).num_rows)

    def batches(self, file: DataFile, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[Any]:
        """Read only the columns asked for."""
        import pyarrow.parquet  # noqa: PLC0415

        with _readable(file), file.open() as stream:
            table = pyarrow.parquet.ParquetFile(stream)
            yield from table.iter_batches(batch_size=rows, columns=list(columns))

    def rows(self, file: DataFile, columns: Sequence[str]) -> Iterator[Row]:
        """Read only the columns asked for."""
        with _readable(file):
            for batch in self.batches(file, columns):
                yield from batch.to_pylist()


class ArrowIpc:
    """Arrow IPC, as a stream (what `datasets` writes) or as a file (Feather)."""

    def schema(self, file: DataFile) -> Any:
        """Read the schema."""
        with _readable(file), file.open() as stream:
            return _arrow_reader(stream).schema

    def columns(self, file: DataFile) -> Sequence[str]:
        """Read the schema."""
        return list(self.schema(file).names)

    def count(self, file: DataFile) -> int:
        """Read batch by batch: only they know how many rows they have."""
        return sum(batch.num_rows for batch in self.batches(file, ()))

    def batches(self, file: DataFile, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[Any]:
        """Read batch by batch, and give parts of each: one of `datasets` has a thousand rows, however long."""
        with _readable(file), file.open() as stream, _mapped(stream) as (content, release):
            reader = _arrow_reader(content)
            if hasattr(reader, "num_record_batches"):
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                batches = iter(reader)
            for batch in batches:
                chosen = batch.select(list(columns))
                for start in range(0, chosen.num_rows, rows):
                    yield chosen.slice(start, rows)
                    release()

    def rows(self, file: DataFile, columns: Sequence[str]) -> Iterator[Row]:
        """Read batch by batch."""
        with _readable(file):
            for batch in self.batches(file, columns):
                yield from batch.to_pylist()


FORMATS: Mapping[str, Format] = {
    ".jsonl": JsonLines(),
    ".ndjson": JsonLines(),
    ".json": JsonLines(),
    ".csv": Csv(),
    ".parquet": Parquet(),
    ".arrow": ArrowIpc(),
    ".feather": ArrowIpc(),
}
"""The formats, by what a file's name ends in."""


def format_of(file: DataFile) -> Format:
    """Give the format of a file.

    Raises:
        WrongInput: UnknownFormat.
    """
    try:
        return FORMATS[file.format_suffix]
    except KeyError:
        raise WrongInput(
            "UnknownFormat",
            f"the format of {file.name} is not known from its name; it must end in one of {', '.join(FORMATS)}, "
            "then .gz, .bz2, .xz, .zst or .lz4 if it is compressed",
        ) from None


@contextmanager
def _readable(file: DataFile) -> Iterator[None]:
    """Turn a complaint about the content of a file into one that a person can act on.

    An OSError is one if it has no number, and otherwise the system's.
    """
    import pyarrow  # noqa: PLC0415

    try:
        yield
    except MemoryError:  # also one of pyarrow's
        raise
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise malformed_file(file.name, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise malformed_file(file.name, error) from error


@contextmanager
def _mapped(stream: Stream) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Map a file that is on the volume as it is, so that what is not looked at is not read; others stay streams.

    The function gives up the memory of what was looked at so far.
    """
    import pyarrow  # noqa: PLC0415

    if (
        isinstance(stream, io.BufferedReader)
        and isinstance(stream.raw, io.FileIO)
        and os.fstat(stream.fileno()).st_size
    ):
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        yield pyarrow.BufferReader(pyarrow.py_buffer(content)), lambda: content.madvise(mmap.MADV_DONTNEED)
    else:
        yield stream, lambda: None


def _arrow_reader(stream: Any) -> Any:
    import pyarrow.ipc  # noqa: PLC0415

    magic = stream.read(6)
    stream.seek(0)
    return pyarrow.ipc.open_file(stream) if magic == b"ARROW1" else pyarrow.ipc.open_stream(stream)


def _read_line(file: DataFile, stream: Stream) -> bytes:
    try:
        return stream.readline()
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise malformed_file(file.name, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise malformed_file(file.name, error) from error


def _text_lines(file: DataFile, stream: Stream) -> Iterator[str]:
    """Decode line by line; a byte order mark, which spreadsheets write, is none of the header's."""
    encoding = "utf-8-sig"
    while line := _read_line(file, stream):
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise malformed_file(file.name, error) from error
        encoding = "utf-8"


def _next_record(file: DataFile, reader: "CsvReader") -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise _malformed(file, reader.line_num, f"is not CSV ({error})") from error


def _malformed(file: DataFile, number: int, problem: str) -> WrongInput:
    return WrongInput("MalformedRow", f"line {number} of {file.name} {problem}; correct or remove the line")
