"""All files of a URI, read as one table whose columns are known before its rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.files import DataFile, local_files
from distill_runtime.sources.formats import Row, format_of
from distill_runtime.sources.hub import SCHEME, hub_files
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.remote import url_files
from distill_runtime.storage.volume import Volume


@dataclass(frozen=True)
class Table:
    """Rows in a fixed order, with the columns that were asked for.

    Attributes:
        uri: where the table is.
        columns: names of the columns that are read; every file has them.
        files: that hold the rows.
    """

    uri: str
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]

    def rows(self) -> Iterator[Row]:
        """Read every row, from the start; memory does not grow with their number."""
        for file in self.files:
            yield from self.rows_of(file)

    def rows_of(self, file: DataFile) -> Iterator[Row]:
        """Read every row of one of the files."""
        yield from format_of(file).rows(file, self.columns)


def find_files(uri: str, volume: Volume, selection: Selection) -> tuple[DataFile, ...]:
    """Find the files that a URI means: on the hub (`hf://`), at another URL, or on the volume.

    Raises:
        WrongInput, Retryable: as the function for each of them.
    """
    if uri.startswith(SCHEME):
        return hub_files(uri, selection)
    return url_files(uri) if "://" in uri else local_files(uri, volume, selection)


def open_table(
    uri: str, volume: Volume, columns: Mapping[str, str], selection: Selection, optional: Sequence[str] = ()
) -> Table:
    """Open a table and make sure that it has the columns that will be read.

    Args:
        columns: name of each column by the parameter that names it, such as {"promptColumn": "problem"}.
        selection: of a data set with subsets or splits.
        optional: names of columns that are read where every file has them.

    Raises:
        WrongInput: as `find_files`; UnknownFormat, EmptySource, or ColumnMissing, which says what columns there are.
    """
    filled = []
    shared = list(optional)
    for file in find_files(uri, volume, selection):
        existing = format_of(file).columns(file)
        if not existing:
            continue
        for parameter, column in columns.items():
            if column not in existing:
                raise WrongInput(
                    "ColumnMissing",
                    f"{file.name} has no column {column!r} ({parameter}); it has {', '.join(existing)}",
                )
        shared = [column for column in shared if column in existing]
        filled.append(file)
    if not filled:
        raise WrongInput("EmptySource", f"{uri} has no rows")
    return Table(uri, tuple(dict.fromkeys((*columns.values(), *shared))), tuple(filled))
