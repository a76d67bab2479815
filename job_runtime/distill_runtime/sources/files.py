"""Which files a URI means, and how one of them is opened."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from distill_runtime.errors import WrongInput
from distill_runtime.volume import Volume

Stream = IO[bytes]


def _open_with_arrow(codec: str) -> Callable[[Stream], Stream]:
    def open_stream(stream: Stream) -> Stream:
        import pyarrow  # noqa: PLC0415 - takes 0.2 s, for a codec that few use

        # Buffered, because pyarrow's streams do not split lines.
        return cast("Stream", io.BufferedReader(pyarrow.CompressedInputStream(stream, codec)))

    return open_stream


DECOMPRESSORS: dict[str, Callable[[Stream], Stream]] = {
    ".gz": lambda stream: cast("Stream", gzip.GzipFile(fileobj=stream)),
    ".bz2": lambda stream: cast("Stream", bz2.BZ2File(stream)),
    ".xz": lambda stream: cast("Stream", lzma.LZMAFile(stream)),  # noqa: SIM115 - DataFile.open closes it
    ".zst": _open_with_arrow("zstd"),
    ".lz4": _open_with_arrow("lz4"),
}


@dataclass(frozen=True)
class DataFile:
    """One file of rows.

    Attributes:
        name: how to call it in a message.
        format_suffix: what its name ends in, without the compression: `.jsonl`, `.parquet` …
        open_raw: opens its bytes as they are stored.
        compression: suffix of its compression, or empty.
    """

    name: str
    format_suffix: str
    open_raw: Callable[[], Stream]
    compression: str = ""

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Open the content, decompressed."""
        with self.open_raw() as stream:
            if self.compression:
                with DECOMPRESSORS[self.compression](stream) as content:
                    yield content
            else:
                yield stream


def find_files(uri: str, volume: Volume) -> tuple[DataFile, ...]:
    """Find the files that a URI means, in a fixed order.

    Args:
        uri: a path on the volume or a URL that fsspec knows; a file, a directory with files below it, or a directory
            that `datasets.save_to_disk` wrote.

    Raises:
        WrongInput: SourceMissing, EmptySource or SchemeUnsupported.
    """
    if "://" in uri:
        return _remote_files(uri)
    path = volume.resolve(uri)
    if path.is_file():
        return (_local_file(path),)
    if not path.is_dir():
        raise WrongInput(
            "SourceMissing", f"there is no {uri} on the volume ({path}); copy the rows there or correct the uri"
        )
    paths = _saved_dataset_files(path) or sorted(
        child
        for child in path.rglob("*")
        if child.is_file() and not child.name.startswith((".", "_")) and _suffixes(child.name)[0] in ROW_SUFFIXES
    )
    if not paths:
        raise WrongInput("EmptySource", f"the directory {uri} has no file that ends in {', '.join(ROW_SUFFIXES)}")
    return tuple(_local_file(child) for child in paths)


ROW_SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What the files of a directory end in; others, such as README.md or a manifest.json, hold no rows."""


def _local_file(path: Path) -> DataFile:
    suffix, compression = _suffixes(path.name)
    return DataFile(str(path), suffix, lambda: path.open("rb"), compression)


def _saved_dataset_files(directory: Path) -> list[Path]:
    """List the files of a directory that `datasets.save_to_disk` wrote, in its order; none if it did not."""
    state = directory / "state.json"
    if not state.is_file():
        return []
    return [directory / file["filename"] for file in json.loads(state.read_text())["_data_files"]]


def _remote_files(uri: str) -> tuple[DataFile, ...]:
    import fsspec  # noqa: PLC0415 - only remote sources need it

    try:
        file_system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise WrongInput("SchemeUnsupported", f"{uri} cannot be opened: {error}") from error
    try:
        if _suffixes(path)[0] in ROW_SUFFIXES or file_system.isfile(path):
            paths = [path]
        else:
            paths = sorted(name for name in file_system.find(path) if _suffixes(name)[0] in ROW_SUFFIXES)
        if not paths or not file_system.exists(paths[0]):
            raise WrongInput("SourceMissing", f"there is nothing to read at {uri}; correct the uri")
    except PermissionError as error:
        raise WrongInput("SourceMissing", f"no permission to read {uri}: {error}") from error
    return tuple(_remote_file(file_system, name) for name in paths)


def _remote_file(file_system: Any, path: str) -> DataFile:
    suffix, compression = _suffixes(path)
    name = path if "://" in path else file_system.unstrip_protocol(path)
    return DataFile(name, suffix, lambda: cast("Stream", file_system.open(path, "rb")), compression)


def _suffixes(name: str) -> tuple[str, str]:
    """Split `rows.jsonl.gz` into the suffix of the format, `.jsonl`, and that of the compression, `.gz`."""
    path = PurePosixPath(name.lower())
    if path.suffix in DECOMPRESSORS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""
