"""Which files a URI means, and how one of them is opened."""

import bz2
import gzip
import io
import json
import lzma
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from distill_runtime.foundation.errors import Retryable, StageError, WrongInput
from distill_runtime.sources.layout import DEFAULT_SPLIT, Selection, choose_files, declares_files
from distill_runtime.storage.volume import Volume

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


_S3 = "s3://"


@dataclass(frozen=True)
class DataFile:
    """One file of rows.

    Attributes:
        name: how to call it in a message.
        format_suffix: what its name ends in, without the compression: `.jsonl`, `.parquet` …
        open_raw: opens its bytes as they are stored.
        compression: suffix of its compression, or empty.
        version: changes when the content does, for a file on the volume; empty for others.
    """

    name: str
    format_suffix: str
    open_raw: Callable[[], Stream]
    compression: str = ""
    version: str = ""

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Open the content, decompressed."""
        with self.open_raw() as stream:
            if self.compression:
                with DECOMPRESSORS[self.compression](stream) as content:
                    yield content
            else:
                yield stream


def url_files(uri: str) -> tuple[DataFile, ...]:
    """Find the files at a URL: a file, or all below a directory, in the order of their names.

    s3:// is read by Arrow, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for other object stores,
    AWS_ENDPOINT_URL; everything else by the fsspec implementation that is installed for its scheme.

    Raises:
        WrongInput: SourceMissing or SchemeUnsupported.
        Retryable: SourceUnreachable.
    """
    import fsspec  # noqa: PLC0415 - only remote sources need it

    try:
        file_system, path = _open_s3(uri) if uri.startswith(_S3) else fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise WrongInput("SchemeUnsupported", f"{uri} cannot be opened: {error}") from error
    try:
        if split_suffixes(path)[0] in ROW_SUFFIXES or file_system.isfile(path):
            paths = [path]
        else:
            names = file_system.find(path, on_error="raise")
            paths = sorted(name for name in names if split_suffixes(name)[0] in ROW_SUFFIXES)
        for name in paths[:1]:
            file_system.info(name)
    except OSError as error:
        raise _unavailable(uri, error) from error
    if not paths:
        raise _nothing_at(uri)
    return tuple(_remote_file(file_system, name) for name in paths)


def _unavailable(uri: str, error: OSError) -> StageError:
    """Judge why nothing can be read at a URL."""
    # fsspec calls whatever an http server does a file that is not found; the cause is what happened.
    what = error.__cause__ or error
    status = getattr(what, "status", None)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or "ACCESS_DENIED" in str(what):
        return WrongInput("SourceMissing", f"no permission to read {uri}: {what}")
    if isinstance(what, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return _nothing_at(uri)
    return Retryable("SourceUnreachable", f"{uri} cannot be reached: {what}")


def _nothing_at(uri: str) -> WrongInput:
    return WrongInput("SourceMissing", f"there is nothing to read at {uri}; correct the uri")


def _open_s3(uri: str) -> tuple[Any, str]:
    from fsspec.implementations.arrow import ArrowFSWrapper  # noqa: PLC0415
    from pyarrow.fs import S3FileSystem  # noqa: PLC0415

    store = S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"), region=os.environ.get("AWS_REGION"))
    return ArrowFSWrapper(store), uri.removeprefix(_S3)


def local_files(uri: str, volume: Volume, selection: Selection) -> tuple[DataFile, ...]:
    """Find the files at a path of the volume, in a fixed order.

    Args:
        uri: of a file, of a directory with files below it, of one that `datasets.save_to_disk` wrote, or of a copy of
            a data set of the hub.

    Raises:
        WrongInput: SourceMissing, EmptySource, SubsetMissing or SplitMissing.
    """
    path = volume.resolve(uri)
    if path.is_file():
        return (_local_file(path),)
    if not path.is_dir():
        raise WrongInput(
            "SourceMissing", f"there is no {uri} on the volume ({path}); copy the rows there or correct the uri"
        )
    if (path / "dataset_dict.json").is_file():
        path = _choose_saved_split(uri, path, selection)
    paths = _saved_dataset_files(path) or _files_below(uri, path, selection)
    if not paths:
        raise WrongInput("EmptySource", f"the directory {uri} has no file that ends in {', '.join(ROW_SUFFIXES)}")
    return tuple(_local_file(child) for child in paths)


ROW_SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".arrow")
"""What the files of a directory end in; others, such as README.md or a manifest.json, hold no rows."""


def _local_file(path: Path) -> DataFile:
    suffix, compression = split_suffixes(path.name)
    status = path.stat()
    version = f"{status.st_size} {status.st_mtime_ns}"
    return DataFile(str(path), suffix, lambda: path.open("rb"), compression, version)


def _files_below(uri: str, directory: Path, selection: Selection) -> list[Path]:
    names = sorted(
        child.relative_to(directory).as_posix()
        for child in directory.rglob("*")
        if child.is_file() and not child.name.startswith((".", "_")) and split_suffixes(child.name)[0] in ROW_SUFFIXES
    )
    readme_path = directory / "README.md"
    readme = readme_path.read_text(encoding="utf-8") if readme_path.is_file() else ""
    # A directory is taken whole, unless somebody says that there are parts in it.
    if names and (selection != Selection() or declares_files(readme)):
        names = choose_files(uri, names, readme, selection)
    return [directory / name for name in names]


def _choose_saved_split(uri: str, directory: Path, selection: Selection) -> Path:
    splits = json.loads((directory / "dataset_dict.json").read_text())["splits"]
    split = selection.split or (DEFAULT_SPLIT if len(splits) != 1 else splits[0])
    if split not in splits:
        raise WrongInput("SplitMissing", f"{uri} has no split {split!r}; it has {', '.join(splits)}")
    return directory / split


def _saved_dataset_files(directory: Path) -> list[Path]:
    """List the files of a directory that `datasets.save_to_disk` wrote, in its order; none if it did not."""
    state = directory / "state.json"
    if not state.is_file():
        return []
    return [directory / file["filename"] for file in json.loads(state.read_text())["_data_files"]]


def _remote_file(file_system: Any, path: str) -> DataFile:
    suffix, compression = split_suffixes(path)
    name = path if "://" in path else file_system.unstrip_protocol(path)
    return DataFile(name, suffix, lambda: cast("Stream", file_system.open(path, "rb")), compression)


def split_suffixes(name: str) -> tuple[str, str]:
    """Split `rows.jsonl.gz` into the suffix of the format, `.jsonl`, and that of the compression, `.gz`."""
    path = PurePosixPath(name.lower())
    if path.suffix in DECOMPRESSORS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""
