"""A conversation as the tokenizer's own chat template writes it, split into what is given and what is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

from distill_runtime.foundation.errors import WrongInput


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str


class ChatTemplate(Protocol):
    """What this module needs of a tokenizer (`transformers.PreTrainedTokenizerBase`)."""

    def apply_chat_template(
        self, conversation: Sequence[Message], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Write a conversation as text."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation as text.

    Attributes:
        prompt: everything up to where the model starts to write, as at inference.
        completion: what it learns to write: the last message and the end-of-turn token.
    """

    prompt: str
    completion: str


def render(template: ChatTemplate, messages: Sequence[Message]) -> Exchange:
    """Write a conversation whose last message is the assistant's.

    Whatever the template puts after the end of the turn, such as Qwen's line break, belongs to the next turn and is
    left out.

    Raises:
        WrongInput: TemplateUnsuitable, if the template does not write the last message as it is. Some templates of
            reasoning models drop the reasoning from it; training on what is left would unlearn reasoning.
    """
    prompt = template.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    whole = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    completion = whole.removeprefix(prompt).rstrip()
    if not prompt or not whole.startswith(prompt):
        raise WrongInput(
            "TemplateUnsuitable",
            "the tokenizer's chat template does not start an assistant's message the way it prompts for one "
            f"({prompt[-60:]!r}), so the two cannot be trained to agree; use a template whose generation prompt "
            "is how the message starts",
        )
    # Looked for in the whole: the prompt of some reasoning models ends with the answer's own first word, `<think>`.
    content = messages[-1]["content"]
    if content.strip() not in whole and _letters(content) not in _letters(whole):
        raise WrongInput(
            "TemplateUnsuitable",
            "the tokenizer's chat template changes the assistant's last message; reasoning would be lost. "
            "Use a template that writes the last message whole, reasoning included",
        )
    return Exchange(prompt, completion)


def _letters(text: str) -> str:
    """Leave out white space, which templates trim."""
    return "".join(text.split())
