"""The choices of a problem: read from a row, put in an order, lettered, and the one that is right among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from distill_runtime.contract.parameters import LETTERS
from distill_runtime.foundation.texts import text_digest
from distill_runtime.sources.values import as_text

_FEWEST: Final = 2


@dataclass(frozen=True, slots=True)
class Choices:
    """The texts, in their order."""

    texts: tuple[str, ...]

    @property
    def lettered(self) -> str:
        """The list as a model reads it: a line each, such as `A) Paris`."""
        return "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, self.texts, strict=False))

    def shuffled(self, problem: str) -> "Choices":
        """Give them in an order that follows from the texts alone, so that it is the same whenever a row is read.

        Which one is right, and where it was, has no part in it.
        """
        return Choices(tuple(sorted(self.texts, key=lambda text: text_digest(f"{problem}\0{text}", 16))))

    def position(self, answer: Any) -> int | None:
        """Give the position of the one that an answer means: by its text, its letter or its index, which counts from 0.

        A text of digits is a choice's text before it is an index, so that `"4"` among 3, 4 and 5 is the second; a
        number may be both. None if it means none or several.
        """
        text = (as_text(answer) or "").strip()
        same = {position for position, choice in enumerate(self.texts) if choice == text}
        if isinstance(answer, int) and 0 <= answer < len(self.texts):
            same.add(answer)
        letter = text.strip("().").upper()
        if len(letter) == 1 and letter in LETTERS[: len(self.texts)]:
            same.add(LETTERS.index(letter))
        if not same and len(text) == 1 and text in "0123456789" and int(text) < len(self.texts):
            same.add(int(text))
        return same.pop() if len(same) == 1 else None


def read_choices(values: Sequence[Any]) -> Choices | None:
    """Read the values of the columns: one list, or a choice each. None if they are not two to ten texts or numbers."""
    listed = values[0] if len(values) == 1 else values
    if not isinstance(listed, list | tuple) or not _FEWEST <= len(listed) <= len(LETTERS):
        return None
    texts = [(as_text(value) or "").strip() for value in listed]
    return Choices(tuple(texts)) if all(texts) else None
