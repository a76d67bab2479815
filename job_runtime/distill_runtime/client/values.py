"""A request to a chat model and its outcome."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """Something to ask, once.

    Attributes:
        key: identifies it in the journal, for ever; see `request_key`.
        body: of the POST, as in OpenAI's chat completions API.
        record: what to keep beside the answer, such as the prompt's uuid.
        body_if_truncated: asked once instead, if the answer to `body` was cut off (finish reason `length`).
        teacher: the model that is asked, where there are several.
    """

    key: str
    body: Mapping[str, Any]
    record: Mapping[str, Any]
    body_if_truncated: Mapping[str, Any] | None = None
    teacher: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        content: the answer; holds the reasoning too if the server does not tell them apart.
        reasoning: the chain of thought, if the server gives it apart (as `reasoning_content` or `reasoning`).
        finish_reason: `stop`, `length` …, in ASCII letters, digits and _; `unknown` if the server says nothing like it.
        prompt_tokens, completion_tokens: as the server counts them; None if it does not, or not in numbers.
        model: the name that the server gives itself.
    """

    content: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was answered.

    Attributes:
        attempts: HTTP requests that it took.
        seconds: duration of the one that succeeded.
        discarded: a reply that this one is kept instead of: the shorter try, paid for as well.
    """

    request: Request
    reply: Reply
    endpoint: str
    attempts: int
    seconds: float
    discarded: Reply | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that will not be asked again, although nobody answered it.

    Attributes:
        reason: one camelCase word.
        message: what the endpoint did.
    """

    request: Request
    reason: str
    message: str
    endpoint: str
    attempts: int


Outcome = Answer | Failure


def request_key(uuid: str, generation: int) -> str:
    """Name a generation of a prompt by 64 bits in hexadecimal, whatever its uuid looks like.

    Among ten million generations, two share a name with a probability of 3 in a million.
    """
    return hashlib.blake2b(f"{generation}:{uuid}".encode(), digest_size=8).hexdigest()


def chat_body(
    model: str,
    *,
    system_prompt: str,
    user_prompt: str,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    examples: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Build the body of a chat completion; an empty system prompt and no seed are left out.

    Args:
        examples: turns before the prompt, what the user and the assistant say in each.
    """
    messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for question, answer in examples:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": user_prompt})
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    if seed is not None:
        body["seed"] = seed
    return body
