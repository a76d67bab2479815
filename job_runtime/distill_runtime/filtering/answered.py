"""Rows that come with their generations, in the shape of OpenR1-Math-220k (open-r1's published data sets).

Every generation of every row is accounted for. A row that has none counts as one generation that is missing, as a
request does that the teacher never answered.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson
from pydantic import JsonValue

from distill_runtime.contract import ArtifactReference, RowSource
from distill_runtime.filtering.generations import Generation, Place
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.sources.formats import Row, format_of
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.problems import ANSWER_MISSING, PROMPT_MISSING
from distill_runtime.sources.prompts import text_uuid
from distill_runtime.sources.table import Table, open_table
from distill_runtime.sources.values import as_text
from distill_runtime.storage.volume import Volume

GENERATION_MISSING = "generationMissing"
INCORRECT = "incorrect"
NO_VERDICT = "noVerdict"

_UUID, _SOURCE, _COMPLETE, _FINISH_REASONS = "uuid", "source", "is_reasoning_complete", "finish_reasons"
"""Columns that are read where the rows have them, if the source names no others."""


@dataclass(frozen=True)
class AnsweredRows:
    """The generations of a table (see `generations.Generations`).

    Attributes:
        source: which column holds what.
        table: the rows.
        file_rows: how many rows are used of each of its files.
        trusted: whether the rows' own verdicts decide.
    """

    source: RowSource
    table: Table
    file_rows: tuple[int, ...]
    trusted: bool
    references: tuple[ArtifactReference, ...] = ()
    unit: Final = "rows"
    length_unit: Final = "characters"
    teachers: Final[tuple[str, ...]] = ()

    @property
    def total(self) -> int:
        """How many rows there are."""
        return sum(self.file_rows)

    @property
    def fingerprint(self) -> str:
        """A digest of what is known of the files, and of how many rows of each are used."""
        known = [(file.name, file.version, rows) for file, rows in zip(self.table.files, self.file_rows, strict=True)]
        return hashlib.blake2b(orjson.dumps(known), digest_size=16).hexdigest()

    @property
    def origin(self) -> Mapping[str, JsonValue]:
        """The source of the rows, for the card."""
        return {"rows": self.source.model_dump(mode="json", by_alias=True, exclude_none=True)}

    @property
    def have_sources(self) -> bool:
        """Whether the rows say where their problems come from."""
        return (self.source.source_column or _SOURCE) in self.table.columns

    @property
    def _has_answers(self) -> bool:
        return self.source.reference_answers == "required"

    def read(self, place: Place) -> Iterator[Generation]:
        """Read from a place on, whose offset counts the generations of a file."""
        for part in range(place.part, len(self.table.files)):
            first = sum(self.file_rows[:part])
            rows = islice(self.table.rows_of(self.table.files[part]), self.file_rows[part])
            skipped = place.offset if part == place.part else 0
            generations = self._of_file(rows, part, first)
            yield from islice(generations, skipped, None)

    def _of_file(self, rows: Iterator[Row], part: int, first: int) -> Iterator[Generation]:
        offset = 0
        for position, row in enumerate(rows, start=first):
            problem = row.get(self.source.prompt_column)
            prompt = problem if isinstance(problem, str) and problem.strip() else ""
            answer = as_text(row.get(self.source.answer_column)) if self._has_answers else None
            uuid = as_text(row.get(self.source.uuid_column or _UUID))
            source = as_text(row.get(self.source.source_column or _SOURCE))
            texts = self._generations(row)
            lacks_answer = answer is None and self._has_answers
            unusable = PROMPT_MISSING if not prompt else ANSWER_MISSING if lacks_answer else None
            for index, text in enumerate(texts or [None]):
                offset += 1
                yield Generation(
                    uuid=uuid or (text_uuid(prompt) if prompt else f"row {position}"),
                    number=index,
                    position=position,
                    prompt=prompt,
                    answer=answer or "",
                    source=source,
                    text=text or "",
                    tokens=None,
                    teacher=None,
                    truncated=self._is_truncated(row, index),
                    unusable=unusable or (None if texts else GENERATION_MISSING),
                    failure=None,
                    recorded=self._recorded(row, index),
                    next=Place(part, offset, position + 1),
                )

    def _generations(self, row: Row) -> Sequence[str | None]:
        if self.source.messages_column is not None:
            text = _answer_of(row.get(self.source.messages_column))
            return [] if text is None else [text]
        values = row.get(self.source.generations_column)
        return [value if isinstance(value, str) else None for value in values] if isinstance(values, list) else []

    def _is_truncated(self, row: Row, index: int) -> bool:
        if self.source.messages_column is not None:
            return False
        complete = _item(row, self.source.complete_column or _COMPLETE, index)
        finish_reason = _item(row, self.source.finish_reasons_column or _FINISH_REASONS, index)
        return complete is False or finish_reason == CUT_OFF

    def _recorded(self, row: Row, index: int) -> str | None:
        if not self.trusted:
            return None
        verdict = _item(row, self.source.correctness_column, index)
        return None if verdict is True else INCORRECT if verdict is False else NO_VERDICT


def open_rows(source: RowSource, trusted: bool, volume: Volume) -> AnsweredRows:
    """Open a source of rows, and count them.

    Raises:
        WrongInput: as `sources.table.open_table`, or EmptySource.
    """
    required, optional = _columns(source, trusted)
    table = open_table(source.uri, volume, required, Selection(source.subset, source.split), optional)
    left = source.limit
    file_rows: list[int] = []
    for file in table.files:
        rows = format_of(file).count(file)
        if left is not None:
            rows = min(rows, left)
            left -= rows
        file_rows.append(rows)
    if not sum(file_rows):
        raise WrongInput("EmptySource", f"{source.uri} has no rows")
    return AnsweredRows(source, table, tuple(file_rows), trusted)


def _columns(source: RowSource, trusted: bool) -> tuple[dict[str, str], list[str]]:
    """Give the columns that must be there, by the parameter that names each, and those that are read if they are."""
    required = {"promptColumn": source.prompt_column}
    if source.reference_answers == "required":
        required["answerColumn"] = source.answer_column
    defaults = [("uuidColumn", source.uuid_column, _UUID), ("sourceColumn", source.source_column, _SOURCE)]
    if source.messages_column is not None:
        required["messagesColumn"] = source.messages_column
    else:
        required["generationsColumn"] = source.generations_column
        defaults.append(("completeColumn", source.complete_column, _COMPLETE))
        defaults.append(("finishReasonsColumn", source.finish_reasons_column, _FINISH_REASONS))
    if trusted:
        required["correctnessColumn"] = source.correctness_column
    required |= {parameter: column for parameter, column, _ in defaults if column is not None}
    return required, [default for _, column, default in defaults if column is None]


def _item(row: Row, column: str, index: int) -> Any:
    """Give what a column says of one of a row's generations; None if it says nothing."""
    values = row.get(column)
    return values[index] if isinstance(values, list) and index < len(values) else None


def _answer_of(messages: Any) -> str | None:
    """Give the text of a conversation's last message, if that is the assistant's, and its only one."""
    if not isinstance(messages, list):
        return None
    said = [message for message in messages if isinstance(message, dict) and message.get("role") == "assistant"]
    if len(said) != 1 or messages[-1] is not said[0]:
        return None
    content = said[0].get("content")
    return content if isinstance(content, str) else None
