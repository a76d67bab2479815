"""Which files on the volume a URI means, and how a file is opened, wherever it is."""

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

from distill_runtime.foundation.errors import WrongInput
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


@dataclass(frozen=True)
class DataFile:
    """One file of rows.

    Attributes:
        name: how to call it in a message.
        format_suffix: what its name ends in, without the compression: `.jsonl`, `.parquet` …
        open_raw: opens its bytes as they are stored.
        compression: suffix of its compression, or empty.
        version: changes when the content does, as far as can be told without reading it.
        path: where it is, if it is on the volume.
    """

    name: str
    format_suffix: str
    open_raw: Callable[[], Stream]
    compression: str = ""
    version: str = ""
    path: Path | None = None

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Open the content, decompressed."""
        with self.open_raw() as stream:
            if self.compression:
                with DECOMPRESSORS[self.compression](stream) as content:
                    yield content
            else:
                yield stream


def local_files(uri: str, volume: Volume, selection: Selection) -> tuple[DataFile, ...]:
    """Find the files at a path of the volume, in a fixed order. Links are followed.

    Args:
        uri: of a file, of a directory with files below it, of one that `datasets.save_to_disk` wrote, or of a copy of
            a data set of the hub.

    Raises:
        WrongInput: SourceMissing, EmptySource, SubsetMissing, SplitMissing or MalformedFile.
    """
    path = volume.resolve(uri)
    if path.is_file():
        return (_local_file(path),)
    if not path.is_dir():
        raise (
            _dangling(path)
            if path.is_symlink()
            else WrongInput(
                "SourceMissing", f"there is no {uri} on the volume ({path}); copy the rows there or correct the uri"
            )
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
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise WrongInput(
            "SourceMissing", f"{path}, of which its directory tells, is not there; copy all files of it"
        ) from error
    version = f"{status.st_size} {status.st_mtime_ns}"
    return DataFile(str(path), suffix, lambda: path.open("rb"), compression, version, path)


def _files_below(uri: str, directory: Path, selection: Selection) -> list[Path]:
    names = sorted(child.relative_to(directory).as_posix() for child in _walk(directory, ()))
    readme_path = directory / "README.md"
    readme = readme_path.read_text(encoding="utf-8", errors="replace") if readme_path.is_file() else ""
    # A directory is taken whole, unless somebody says that there are parts in it.
    if names and (selection != Selection() or declares_files(uri, readme)):
        names = choose_files(uri, names, readme, selection)
    return [directory / name for name in names]


def _walk(directory: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Find the files with rows in a directory and all below it, through links too.

    Raises:
        WrongInput: SourceMissing for a link that leads nowhere, or back to a directory that it is in.
    """
    place = directory.resolve()
    if place in above:
        raise WrongInput("SourceMissing", f"{directory} is a link to a directory that it is in itself; remove it")
    for child in directory.iterdir():
        if child.is_dir():
            yield from _walk(child, (*above, place))
        elif not child.name.startswith((".", "_")):
            if not child.exists():
                raise _dangling(child)
            if split_suffixes(child.name)[0] in ROW_SUFFIXES:
                yield child


def _dangling(link: Path) -> WrongInput:
    return WrongInput(
        "SourceMissing",
        f"{link} is a link to {link.readlink()}, which is not there where the stage runs; copy the content to the "
        "claim, or remove the link",
    )


def _choose_saved_split(uri: str, directory: Path, selection: Selection) -> Path:
    description = directory / "dataset_dict.json"
    splits = _names(description, "splits", lambda entry: entry)
    split = selection.split or (DEFAULT_SPLIT if len(splits) != 1 else splits[0])
    if split not in splits:
        raise WrongInput("SplitMissing", f"{uri} has no split {split!r}; it has {', '.join(splits)}")
    return directory / split


def _saved_dataset_files(directory: Path) -> list[Path]:
    """List the files of a directory that `datasets.save_to_disk` wrote, in its order; none if it did not."""
    state = directory / "state.json"
    if not state.is_file():
        return []
    return [directory / name for name in _names(state, "_data_files", lambda entry: entry["filename"])]


def _names(description: Path, key: str, name_of: Callable[[Any], Any]) -> list[str]:
    """Read names of what is beside a file that describes it.

    Raises:
        WrongInput: MalformedFile.
    """
    try:
        names = [name_of(entry) for entry in json.loads(description.read_bytes())[key]]
    except (ValueError, LookupError, TypeError) as error:
        raise malformed_file(str(description), error) from error
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise malformed_file(str(description), ValueError(f"{name!r} is no name of something beside it"))
    return names


def malformed_file(name: str, error: Exception) -> WrongInput:
    """Say that the content of a file is damaged, or of another kind than its name promises."""
    return WrongInput("MalformedFile", f"{name} cannot be read as what its name says that it is ({error}); replace it")


def split_suffixes(name: str) -> tuple[str, str]:
    """Split `rows.jsonl.gz` into the suffix of the format, `.jsonl`, and that of the compression, `.gz`."""
    path = PurePosixPath(name.lower())
    if path.suffix in DECOMPRESSORS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""
