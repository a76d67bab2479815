"""A conversation as the tokenizer's own chat template writes it, split into what is given and what is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypedDict


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


class Unwritable(Exception):  # noqa: N818 - of one conversation; others may be written well
    """The template does not write a conversation so that it can be learned; the message says why."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A conversation as text.

    Attributes:
        prompt: everything up to where the model starts to write, as at inference.
        completion: what it learns to write: the last message and the end-of-turn token.
    """

    prompt: str
    completion: str


_WRITTEN_WHOLE: Final = ("system", "user")
"""Roles whose messages are given as they are. Of earlier answers, templates leave out the reasoning on purpose."""


def render(template: ChatTemplate, messages: Sequence[Message]) -> Exchange:
    """Write a conversation whose last message is the assistant's.

    Whatever the template puts after the end of the turn, such as Qwen's line break, belongs to the next turn and is
    left out.

    Raises:
        Unwritable: if the template fails, or does not write the messages as they are. Some templates of reasoning
            models drop the reasoning from the last one; training on what is left would unlearn reasoning.
    """
    prompt = write(template, messages[:-1], prompting=True)
    whole = write(template, messages, prompting=False)
    completion = whole.removeprefix(prompt).rstrip()
    if not prompt or not completion or not whole.startswith(prompt):
        raise Unwritable(
            "it does not start the assistant's message the way it prompts for one "
            f"({prompt[-60:]!r}), so the two cannot be trained to agree"
        )
    # Looked for in the whole: the prompt of some reasoning models ends with the answer's own first word, `<think>`.
    if not _contains(whole, messages[-1]["content"]):
        raise Unwritable("it changes the assistant's last message; reasoning would be lost")
    for message in messages[:-1]:
        if message["role"] in _WRITTEN_WHOLE and not _contains(prompt, message["content"]):
            raise Unwritable(f"it leaves out, or changes, the {message['role']} message")
    return Exchange(prompt, completion)


def write(template: ChatTemplate, messages: Sequence[Message], *, prompting: bool) -> str:
    """Write messages as text; `prompting` adds what the model is prompted with.

    Raises:
        Unwritable: if the template fails. It is a program that somebody else wrote, so it may raise anything.
    """
    try:
        return template.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompting)
    except Exception as error:
        raise Unwritable(f"it fails: {str(error) or type(error).__name__}") from error


def _contains(text: str, content: str) -> bool:
    return content.strip() in text or _letters(content) in _letters(text)


def _letters(text: str) -> str:
    """Leave out white space, which templates trim."""
    return "".join(text.split())
