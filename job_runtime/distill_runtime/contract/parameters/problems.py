"""Which columns of a table make a problem and its reference answer, and how."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import Column
from distill_runtime.contract.template import template_names

CHOICES: Final = "choices"
"""What a template calls the lettered list."""
LETTERS: Final = "ABCDEFGHIJ"
"""What choices are called, in their order."""

ChoiceOrder = Literal["given", "shuffled"]

ProblemTemplate = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=16384,
        description="The problem, made of several columns instead of promptColumn: {name} stands for what the column "
        "name has, {choices} for the lettered list of choiceColumns; {{name}} is the text {name}. Default: "
        "promptColumn, with the list below it where there are choiceColumns.",
    ),
]
MessagesColumn = Annotated[
    Column | None,
    Field(
        description="Column that holds a conversation (role and content of each message), whose user's message is the "
        "problem, instead of promptColumn. Messages of the system and answers are not sent; a row with several turns "
        "is rejected."
    ),
]
ChoiceColumns = Annotated[
    tuple[Column, ...] | None,
    Field(
        min_length=1,
        max_length=len(LETTERS),
        description="Column that holds a list of two to ten choices, or the columns that hold one each. They are "
        "lettered from A, and the answer (a letter, an index from 0 or a choice's text) becomes its letter; a row "
        "whose answer is no one choice is rejected.",
    ),
]
ReferencePattern = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=1024,
        description="A Python regular expression for the reference answer within answerColumn: its last match, the "
        "first group if it has one. A row without a match has no answer. Default: all of the column.",
    ),
]

ReferenceAnswers = Annotated[
    Literal["required", "none"],
    Field(
        description="required: a row without a reference answer is rejected; none: there are none, and answerColumn is "
        "not read. For filter.verifier majority and none, which need none."
    ),
]


class ProblemColumns(Parameters):
    """Which columns hold what."""

    prompt_column: Column = Field(default="problem", description="Column that holds the problem.")
    answer_column: Column = Field(
        default="answer", description="Column that holds the reference answer that answers are verified against."
    )
    problem_template: ProblemTemplate = None
    messages_column: MessagesColumn = None
    choice_columns: ChoiceColumns = None
    choice_order: ChoiceOrder = Field(
        default="given",
        description="given: as the columns have them; shuffled: in an order that follows from the problem and the "
        "choices, for tables whose right choice is always at the same place.",
    )
    reference_pattern: ReferencePattern = None

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.choice_order != "given" and self.choice_columns is None:
            raise ValueError("choiceOrder shuffles choiceColumns: set them, or leave it out")
        if self.problem_template is None:
            return self
        if self.messages_column is not None:
            raise ValueError("problemTemplate and messagesColumn both say what the problem is: set one of them")
        names = template_names(self.problem_template)
        if not names:
            raise ValueError("problemTemplate has no placeholder such as {problem}: every problem would be the same")
        if self.choice_columns is None and CHOICES in names:
            raise ValueError("problemTemplate has {choices}: set choiceColumns, which says what they are")
        if self.answer_column in names:
            raise ValueError(
                f"problemTemplate tells the answer: take {{{self.answer_column}}} out, or write "
                f"{{{{{self.answer_column}}}}} for the word in braces"
            )
        return self
