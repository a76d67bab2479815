"""Reading what a server answers: a chat completion's values, or the trouble that it is none.

Servers agree on the outline of OpenAI's format and differ in the rest: a thought is a field of its own or a part of the
content, a text is a string or a list of parts, a count is 7 or 7.0. What can be understood is read; where a text cannot
be, the answer is trouble, since half an answer would look like a whole one.
"""

import json
import re
from typing import Any

import orjson

from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.client.values import Reply

_FINISH_REASON = re.compile(r"[A-Za-z0-9_]{1,40}")
_MOST_TOKENS = 10**9
_MODEL_CHARACTERS = 256
_DEEPEST_TEXT = 8
_TEXT_FIELDS = ("text", "thinking", "reasoning", "content", "summary", "refusal")
_THOUGHTS = ("thinking", "reasoning")


class NotText(ValueError):  # noqa: N818 - named for what it says
    """Something that should be a text, or be made of texts, is neither."""


def parse_json(content: bytes) -> Any:
    """Read JSON, tolerating NaN and halves of surrogate pairs, which orjson does not.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


def parse_completion(content: bytes) -> Reply | Trouble:
    """Read the body of a chat completion."""
    try:
        completion = parse_json(content)
        match completion:
            case {"choices": [{"message": dict() as message} as choice, *_]}:
                reasoning, text = read_content(message.get("content"))
                return make_reply(
                    content=text,
                    reasoning=read_reasoning(message) + reasoning,
                    finish_reason=choice.get("finish_reason"),
                    usage=completion.get("usage"),
                    model=completion.get("model"),
                )
    except NotText as error:
        return Trouble(Kind.INVALID_RESPONSE, f"answers with {error}")
    except ValueError:
        pass
    start = content[:80].decode("utf-8", "replace")
    return Trouble(Kind.INVALID_RESPONSE, f"answers 200 with something that is no chat completion: {start!r}")


def make_reply(*, content: str, reasoning: str, finish_reason: Any, usage: Any, model: Any) -> Reply:
    """Put a reply together; what is no finish reason, number of tokens or name is taken for not given."""
    said = isinstance(finish_reason, str) and _FINISH_REASON.fullmatch(finish_reason)
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        content=_encodable(content),
        reasoning=_encodable(reasoning) or None,
        finish_reason=finish_reason if said else "unknown",
        prompt_tokens=_tokens(counts.get("prompt_tokens")),
        completion_tokens=_tokens(counts.get("completion_tokens")),
        model=_encodable(model[:_MODEL_CHARACTERS]) if isinstance(model, str) else "",
    )


def read_reasoning(message: dict[str, Any]) -> str:
    """Give the thought that is in a field of its own; empty if there is none.

    Raises:
        NotText: it is in another form.
    """
    return _text(message.get("reasoning_content") or message.get("reasoning") or None, "reasoning")


def read_content(content: Any) -> tuple[str, str]:
    """Give the thought in a content, if it has parts that are one, and the rest of it.

    Raises:
        NotText: it is neither a string nor made of parts that hold text.
    """
    if isinstance(content, str):
        return "", content
    parts = content if isinstance(content, list) else [content]
    thoughts = [part for part in parts if _is_thought(part)]
    rest = [part for part in parts if not _is_thought(part)]
    return _text(thoughts, "content"), _text(rest, "content")


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") in _THOUGHTS or "thinking" in part)


def _text(value: Any, name: str, depth: int = 0) -> str:
    """Join the texts of something that is made of them."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if depth < _DEEPEST_TEXT:
        if isinstance(value, list):
            return "".join(_text(part, name, depth + 1) for part in value)
        if isinstance(value, dict):
            for field in _TEXT_FIELDS:
                if value.get(field) is not None:
                    return _text(value[field], name, depth + 1)
    raise NotText(f"{name} that is no text ({type(value).__name__})")


def _tokens(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _encodable(text: str) -> str:
    """Join the halves of surrogate pairs, and replace those that have no other half: UTF-8 cannot hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
