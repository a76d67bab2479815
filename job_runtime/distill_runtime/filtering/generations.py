"""What the filter judges: generations, whether the generate stage asked for them or a table of rows came with them."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

from pydantic import JsonValue

from distill_runtime.contract import ArtifactReference

LengthUnit = Literal["tokens", "characters"]
"""What answers are measured in: tokens where somebody has counted them."""


class Place(NamedTuple):
    """Where reading goes on.

    Attributes:
        part: which file.
        offset: where the next generation is in it.
        rows: rows of the source that were begun; 0 where generations are not in rows.
    """

    part: int = 0
    offset: int = 0
    rows: int = 0


class Generation(NamedTuple):
    """One generation, or one that should be there and is not. A tuple, since a frozen dataclass takes over twice as
    long to make, and there is one for every row.

    Attributes:
        uuid: of the prompt.
        number: which of the prompt's generations it is, from 0.
        position: row of the source, from 0.
        prompt: the problem.
        answer: the reference answer.
        source: where the prompt comes from, if that is known.
        text: what was written, reasoning included.
        tokens: of the text, if they were counted.
        teacher: the model that was asked, if that is known.
        truncated: whether it was cut off.
        unusable: why it cannot be judged, if it cannot.
        failure: what the teacher did instead of answering.
        recorded: why its row rejects it, if what the row says decides and that is not that it is right.
        next: where the one after it is.
    """

    uuid: str
    number: int
    position: int
    prompt: str
    answer: str
    source: str | None
    text: str
    tokens: int | None
    teacher: str | None
    truncated: bool
    unusable: str | None
    failure: str | None
    recorded: str | None
    next: Place


class Generations(Protocol):
    """All generations of a filter stage."""

    @property
    def unit(self) -> Literal["generations", "rows"]:
        """What `total` counts, for the progress."""

    @property
    def total(self) -> int:
        """How much there is to read."""

    @property
    def fingerprint(self) -> str:
        """What differs between these generations and others, as far as it can be told without reading them."""

    @property
    def references(self) -> tuple[ArtifactReference, ...]:
        """The artifacts that are read."""

    @property
    def origin(self) -> Mapping[str, JsonValue]:
        """How the generations were made, for the card of what is kept: the contract, or the source of the rows."""

    @property
    def have_sources(self) -> bool:
        """Whether they say where their prompts come from."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models that wrote them, in the order of the teacher's models; none where nobody knows."""

    @property
    def length_unit(self) -> LengthUnit:
        """What their lengths are known in."""

    def read(self, place: Place) -> Iterator[Generation]:
        """Read from a place on."""
