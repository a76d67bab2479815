"""Putting a streamed chat completion together.

The body is a stream of server-sent events; each `data:` line holds one JSON chunk with what came since the last one,
which is often a single token. So this runs once a token, and is short for that reason.
"""

from typing import Any

import orjson

from distill_runtime.client.completion import (
    NotText,
    make_reply,
    parse_completion,
    parse_json,
    read_content,
    read_reasoning,
)
from distill_runtime.client.trouble import Kind, Trouble, excerpt
from distill_runtime.client.values import Reply

_DATA = b"data:"
_DONE = b"[DONE]"
_OTHER_FIELDS = (b":", b"event:", b"id:", b"retry:")


class StreamedCompletion:
    """Collects the chunks of one completion.

    Only one choice is read, that of the first chunk; a request asks for one. A body without events is read as a
    completion that was not streamed: some servers do not know of streams.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._before: list[bytes] = []
        self._begun = False
        self._done = False
        self._index: Any = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._finish_reason: Any = None
        self._usage: Any = None
        self._model: Any = None
        self._error: Trouble | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body, cut anywhere."""
        self._rest.append(piece)
        if b"\n" in piece:
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest = [rest]
            self._take_lines(lines)

    def end(self) -> Reply | Trouble:
        """Give what it comes to, once the body has ended."""
        self._take_lines([b"".join(self._rest)])
        self._rest = []
        if not self._begun and self._before:
            return parse_completion(b"\n".join(self._before))
        if self._error is not None:
            return self._error
        if self._finish_reason is None and not self._done:
            return Trouble(Kind.DISCONNECTED, "ends the stream before the answer is complete")
        return make_reply(
            content="".join(self._content),
            reasoning="".join(self._reasoning),
            finish_reason=self._finish_reason,
            usage=self._usage,
            model=self._model,
        )

    def _take_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            if line.startswith(_DATA):
                self._begun = True
                self._take(line[len(_DATA) :])
            elif not self._begun and line.strip() and not line.startswith(_OTHER_FIELDS):
                self._before.append(line)

    def _take(self, data: bytes) -> None:
        try:
            try:
                chunk = orjson.loads(data)
            except orjson.JSONDecodeError:
                word = data.strip()
                self._done = self._done or word == _DONE
                if not word or word == _DONE:
                    return
                chunk = parse_json(data)
            for choice in chunk["choices"] or ():
                self._take_choice(choice, chunk)
            if usage := chunk.get("usage"):
                self._usage = usage
        except NotText as error:
            self._error = Trouble(Kind.INVALID_RESPONSE, f"streams {error}")
        except (ValueError, LookupError, TypeError, AttributeError):
            self._error = Trouble(Kind.SERVER_ERROR, f"breaks off a stream with: {excerpt(data)}")

    def _take_choice(self, choice: Any, chunk: Any) -> None:
        index = choice.get("index") or 0
        if self._index is None:
            self._index = index
        if index != self._index:
            return
        if delta := choice.get("delta"):
            if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                self._reasoning.append(thought if isinstance(thought, str) else read_reasoning(delta))
            if content := delta.get("content"):
                if not isinstance(content, str):
                    thought, content = read_content(content)
                    self._reasoning.append(thought)
                self._content.append(content)
        if reason := choice.get("finish_reason"):
            self._finish_reason = reason
            self._model = chunk.get("model")
