"""What a row asks and what the right answer is, by the columns that a source names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distill_runtime.contract import PromptSource
from distill_runtime.contract.parameters import CHOICES, LETTERS
from distill_runtime.contract.template import fill_template, template_names
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.choices import Choices, read_choices
from distill_runtime.sources.formats import Row
from distill_runtime.sources.values import as_text

PROMPT_MISSING: Final = "promptMissing"
ANSWER_MISSING: Final = "answerMissing"
CHOICES_MISSING: Final = "choicesMissing"
ANSWER_UNMATCHED: Final = "answerUnmatched"
SEVERAL_TURNS: Final = "severalTurns"

REFUSALS: Final[Mapping[str, str]] = {
    PROMPT_MISSING: "no problem",
    ANSWER_MISSING: "no answer",
    CHOICES_MISSING: "no two to ten choices",
    ANSWER_UNMATCHED: "an answer that is no one choice",
    SEVERAL_TURNS: "a conversation of several turns",
}
"""Why a row cannot be asked: what it has."""

_BEFORE_THE_USER: Final = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked, and the reference answer; an empty one where a source has none."""

    text: str
    answer: str


class ProblemReader:
    """Makes problems of rows."""

    def __init__(self, columns: PromptSource) -> None:
        """Prepare for the columns of this source.

        Raises:
            WrongInput: InvalidPattern.
        """
        self._columns = columns
        self._template = columns.problem_template
        self._names = template_names(self._template) if self._template else ()
        self._pattern = _compiled(columns.reference_pattern)

    @property
    def columns(self) -> dict[str, str]:
        """The columns that must be there, by what names them."""
        columns = self._columns
        if self._template:
            named = [name for name in self._names if name != CHOICES or not columns.choice_columns]
            found = {f"problemTemplate; {{{{{name}}}}} is the word in braces": name for name in named}
        elif columns.messages_column:
            found = {"messagesColumn": columns.messages_column}
        else:
            found = {"promptColumn": columns.prompt_column}
        for number, name in enumerate(columns.choice_columns or ()):
            found[f"choiceColumns[{number}]"] = name
        return found | ({"answerColumn": columns.answer_column} if self._has_answers else {})

    @property
    def _has_answers(self) -> bool:
        return self._columns.reference_answers == "required"

    def read(self, row: Row) -> Problem | str:
        """Give what a row asks, or the reason why it cannot be asked (see `REFUSALS`)."""
        try:
            if self._columns.choice_columns:
                return self._with_choices(row, [row.get(name) for name in self._columns.choice_columns])
            return Problem(self._text(row, ""), self._reference(row))
        except _Refused as refusal:
            return refusal.reason

    def _with_choices(self, row: Row, values: list[Any]) -> Problem:
        given = read_choices(values)
        if given is None:
            raise _Refused(CHOICES_MISSING)
        bare = self._text(row, "")
        choices = given.shuffled(bare) if self._columns.choice_order == "shuffled" else given
        text = self._text(row, choices.lettered)
        if not self._template:
            text = f"{text}\n\n{choices.lettered}"
        if not self._has_answers:
            return Problem(text, "")
        right = self._right(row, given)
        if right is None or given.texts.count(given.texts[right]) > 1:
            raise _Refused(ANSWER_UNMATCHED)
        return Problem(text, LETTERS[choices.texts.index(given.texts[right])])

    def _right(self, row: Row, given: Choices) -> int | None:
        """Give the position of the right one; None if the answer is none of them, or may be several."""
        reference = self._reference(row)
        columns = self._columns.choice_columns or ()
        if len(columns) > 1 and self._columns.answer_column in columns:
            return columns.index(self._columns.answer_column)  # that column has the right one, whatever its text
        # As it is where it is used whole: a number is an index, a text need not be.
        return given.position(reference if self._pattern else row.get(self._columns.answer_column))

    def _text(self, row: Row, lettered: str) -> str:
        columns = self._columns
        if self._template:
            return self._filled(self._template, row, lettered)
        if columns.messages_column:
            return _said_by_the_user(row.get(columns.messages_column))
        text = row.get(columns.prompt_column)
        if not isinstance(text, str) or not text.strip():
            raise _Refused(PROMPT_MISSING)
        return text

    def _filled(self, template: str, row: Row, lettered: str) -> str:
        values = {}
        for name in self._names:
            value = row.get(name)
            if name == CHOICES and self._columns.choice_columns:
                values[name] = lettered
            elif (text := value if isinstance(value, str) else as_text(value)) is not None:
                values[name] = text  # an empty one too: a context that this row does without
            else:
                raise _Refused(PROMPT_MISSING)
        if not any(text.strip() for name, text in values.items() if name != CHOICES):
            raise _Refused(PROMPT_MISSING)
        return fill_template(template, values)

    def _reference(self, row: Row) -> str:
        if not self._has_answers:
            return ""
        answer = as_text(row.get(self._columns.answer_column))
        if answer is not None and self._pattern is not None:
            found = None
            for found in self._pattern.finditer(answer):  # noqa: B007 - the last one is what is wanted
                pass
            value = found and (found.group(1) if self._pattern.groups else found.group())
            answer = as_text((value or "").strip())
        if answer is None:
            raise _Refused(ANSWER_MISSING)
        return answer


class _Refused(Exception):  # noqa: N818 - what becomes of a row rather than an error
    """A row cannot be asked, for this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _said_by_the_user(conversation: Any) -> str:
    """Give the text of a conversation's only question, in the form of OpenAI's chat completions."""
    messages = conversation if isinstance(conversation, list) else []
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if "user" not in roles:
        raise _Refused(PROMPT_MISSING)
    last = len(roles) - 1 - roles[::-1].index("user")
    if any(role not in _BEFORE_THE_USER for role in roles[:last]):
        raise _Refused(SEVERAL_TURNS)
    content = messages[last].get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "\n".join(texts) if len(texts) == len(parts) else None
    if not isinstance(content, str) or not content.strip():
        raise _Refused(PROMPT_MISSING)
    return content


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise WrongInput(
            "InvalidPattern", f"referencePattern {pattern!r} is not a valid regular expression: {error}"
        ) from error
