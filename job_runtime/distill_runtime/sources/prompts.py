"""Problems with reference answers: which rows can be asked, which are rejected and why, which shard asks them."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from distill_runtime.contract import PromptSource
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.texts import text_digest, text_fingerprint
from distill_runtime.sources.formats import Row
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.problems import REFUSALS, ProblemReader
from distill_runtime.sources.table import Table, open_table
from distill_runtime.sources.values import as_text
from distill_runtime.storage.volume import Volume

DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem with its reference answer.

    Attributes:
        uuid: what identifies it: the uuid column's value, or else a digest of the problem's text.
        text: the problem.
        answer: the reference answer.
        position: its row, from 0.
        source: where it comes from; None if there is no source column, or nothing in it.
    """

    uuid: str
    text: str
    answer: str
    position: int
    source: str | None = None


@dataclass(frozen=True)
class Survey:
    """What one pass over the rows found, for one shard.

    Attributes:
        rows: rows of the shard; always `prompts` plus the rejected ones.
        prompts: rows that will be asked.
        rejected: rows that will not, by reason.
        repeated: fingerprints of the uuids that occur more than once in the whole table.
    """

    rows: int
    prompts: int
    rejected: dict[str, int]
    repeated: frozenset[int]


class Prompts:
    """The prompts of a source.

    Rows are dealt to shards by their position, so every shard reads the source and takes its own part of it.
    """

    def __init__(self, source: PromptSource, reader: ProblemReader, table: Table) -> None:
        self._source = source
        self._reader = reader
        self._table = table

    def survey(self, index: int, shards: int) -> Survey:
        """Read the whole source once, to count and to find duplicates, in 8 bytes of memory a row.

        Raises:
            WrongInput: EmptySource, or MalformedRow.
        """
        rejected: Counter[str] = Counter()
        fingerprints = array("Q")
        rows = 0
        for position, outcome in self._outcomes():
            rows += position % shards == index
            if isinstance(outcome, Prompt):
                fingerprints.append(text_fingerprint(outcome.uuid))
            elif position % shards == index:
                rejected[outcome] += 1
        if not fingerprints:
            raise self._nothing_to_ask()
        repeated = _repeated(fingerprints)
        duplicates = self._count_duplicates(repeated, index, shards) if repeated else 0
        if duplicates:
            rejected[DUPLICATE] = duplicates
        return Survey(rows, rows - rejected.total(), dict(rejected), repeated)

    def read(self, index: int, shards: int, repeated: frozenset[int]) -> Iterator[Prompt]:
        """Read the prompts of one shard; of those with the same uuid only the first in the table is there."""
        for prompt, first in self._distinct(repeated):
            if first and prompt.position % shards == index:
                yield prompt

    def _count_duplicates(self, repeated: frozenset[int], index: int, shards: int) -> int:
        return sum(not first and prompt.position % shards == index for prompt, first in self._distinct(repeated))

    def _distinct(self, repeated: frozenset[int]) -> Iterator[tuple[Prompt, bool]]:
        """Give each prompt and whether it is the first with its uuid."""
        seen: set[int] = set()
        for _, outcome in self._outcomes():
            if not isinstance(outcome, Prompt):
                continue
            fingerprint = text_fingerprint(outcome.uuid) if repeated else 0
            yield outcome, fingerprint not in seen
            if fingerprint in repeated:
                seen.add(fingerprint)

    def _outcomes(self) -> Iterator[tuple[int, Prompt | str]]:
        for position, row in enumerate(islice(self._table.rows(), self._source.limit)):
            yield position, self._parse(row, position)

    def _parse(self, row: Row, position: int) -> Prompt | str:
        """Give the prompt of a row, or the reason why it has none."""
        problem = self._reader.read(row)
        if isinstance(problem, str):
            return problem
        uuid = as_text(row.get(self._source.uuid_column)) if self._source.uuid_column else None
        if uuid is None:
            uuid = text_uuid(problem.text)
        source = as_text(row.get(self._source.source_column)) if self._source.source_column else None
        return Prompt(uuid, problem.text, problem.answer, position, source)

    def _nothing_to_ask(self) -> WrongInput:
        """Say why, of all rows: a shard's own may be none."""
        rejected = Counter(outcome for _, outcome in self._outcomes() if isinstance(outcome, str))
        if not rejected:
            return WrongInput("EmptySource", f"{self._table.uri} has no rows")
        why = ", ".join(f"{number} have {REFUSALS[reason]}" for reason, number in rejected.most_common())
        columns = ", ".join(f"{name!r} ({parameter})" for parameter, name in self._reader.columns.items())
        return WrongInput(
            "EmptySource", f"no row of {self._table.uri} can be asked: {why}; what is read are the columns {columns}"
        )


def open_prompts(source: PromptSource, volume: Volume) -> Prompts:
    """Open a source of prompts.

    Raises:
        WrongInput: as `open_table` and `ProblemReader`.
    """
    reader = ProblemReader(source)
    columns = reader.columns
    if source.uuid_column:
        columns["uuidColumn"] = source.uuid_column
    if source.source_column:
        columns["sourceColumn"] = source.source_column
    return Prompts(source, reader, open_table(source.uri, volume, columns, Selection(source.subset, source.split)))


def text_uuid(text: str) -> str:
    """Give what identifies a problem that has no uuid."""
    return text_digest(text, 16).hex()


def _repeated(fingerprints: "array[int]") -> frozenset[int]:
    import numpy as np  # noqa: PLC0415 - 0.1 s

    values = np.frombuffer(fingerprints, dtype=np.uint64).copy()
    values.sort()
    return frozenset(values[1:][values[1:] == values[:-1]].tolist())
