"""How a problem is put to a model: the same for a teacher and a student."""

from pydantic import Field

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.parameters.fields import PROMPT_PLACEHOLDER


class Example(Parameters):
    """A problem with an answer as it should be."""

    prompt: str = Field(min_length=1, max_length=4096, description="The problem.")
    answer: str = Field(min_length=1, max_length=4096, description="The answer.")


class Prompting(Parameters):
    """The messages around a problem."""

    system_prompt: str
    prompt_template: str = Field(
        default=PROMPT_PLACEHOLDER,
        max_length=65536,
        pattern=r"\{prompt\}",
        description="User message; {prompt} stands for the problem.",
    )
    few_shot: tuple[Example, ...] = Field(
        default=(),
        max_length=16,
        description="Problems that have been answered, sent as turns of the conversation before each problem, in "
        "promptTemplate as well.",
    )

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that is said beside the problem."""
        return (self.system_prompt, self.prompt_template, *(example.answer for example in self.few_shot))

    def user_message(self, problem: str) -> str:
        """Give what the user says; braces in the problem are no placeholders."""
        return self.prompt_template.replace(PROMPT_PLACEHOLDER, problem)

    @property
    def examples(self) -> tuple[tuple[str, str], ...]:
        """The turns before: what the user and the assistant say in each."""
        return tuple((self.user_message(example.prompt), example.answer) for example in self.few_shot)
