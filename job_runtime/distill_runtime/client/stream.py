"""Putting a streamed chat completion together.

The body is a stream of server-sent events; each `data:` line holds one JSON chunk with what came since the last one,
which is often a single token. So this runs once a token, and is short for that reason.
"""

from typing import Any

import orjson

from distill_runtime.client.trouble import Kind, Trouble, excerpt

_DATA = b"data:"
_DONE = b"[DONE]"


class StreamedCompletion:
    """Collects the chunks of one completion.

    Only the first choice is read; a request asks for one.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._model = ""
        self._error: Trouble | None = None

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body, cut anywhere."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(_DATA):
                self._take(line[len(_DATA) :])

    @property
    def error(self) -> Trouble | None:
        """What is wrong with the stream, once the body has ended; None if it is whole."""
        if self._error is None and self._finish_reason is None:
            return Trouble(Kind.DISCONNECTED, "ends the stream before the answer is complete")
        return self._error

    @property
    def completion(self) -> dict[str, Any]:
        """The completion in the form that it would have had if it had not been streamed."""
        message = {"content": "".join(self._content), "reasoning_content": "".join(self._reasoning)}
        choice = {"message": message, "finish_reason": self._finish_reason}
        return {"choices": [choice], "usage": self._usage, "model": self._model}

    def _take(self, data: bytes) -> None:
        try:
            chunk = orjson.loads(data)
            choices = chunk["choices"]
            if choices:
                delta = choices[0]["delta"]
                if text := delta.get("reasoning_content") or delta.get("reasoning"):
                    self._reasoning.append(text)
                if text := delta.get("content"):
                    self._content.append(text)
                if reason := choices[0].get("finish_reason"):
                    self._finish_reason = reason
                    self._model = str(chunk.get("model", ""))
            if usage := chunk.get("usage"):
                self._usage = usage
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
            if data.strip() != _DONE:
                self._error = Trouble(Kind.SERVER_ERROR, f"breaks off a stream with: {excerpt(data)}")
