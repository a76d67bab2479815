"""The HTTP side: as much of OpenAI's API as evaluation needs, answered by the batcher."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill_runtime.serving.batching import Batcher, Completion, CompletionRequest
from distill_runtime.serving.sampling import SamplingParameters


class TextCodec(Protocol):
    """Between messages and tokens."""

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Write messages as the model's chat template does, up to where the assistant speaks, and tokenise."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Give the text of tokens, without special ones."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str
    content: str


class _ChatRequest(BaseModel):
    """The fields of OpenAI's request that are understood. What would change the answer if ignored is refused."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[_Message] = Field(min_length=1)
    max_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0)
    n: Literal[1] = 1
    stream: Literal[False] = False
    user: str | None = None


class ChatApplication:
    """The API's handlers.

    Args:
        batcher: completes; must have been started.
        text: between messages and tokens.
        model: name that it serves under.
        positions: longest sequence of the model.
    """

    def __init__(self, batcher: Batcher, text: TextCodec, model: str, positions: int) -> None:
        self._batcher = batcher
        self._text = text
        self._model = model
        self._positions = positions

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/health", self.health),
            web.get("/v1/models", self.models),
            web.post("/v1/chat/completions", self.complete),
        ]

    async def health(self, _request: web.Request) -> web.Response:
        """Say that requests are worked on: when the model fails, the process ends."""
        return web.Response(text="ok")

    async def models(self, _request: web.Request) -> web.Response:
        """List the one model."""
        return web.json_response({"object": "list", "data": [{"id": self._model, "object": "model"}]})

    async def complete(self, request: web.Request) -> web.Response:
        """Complete a chat."""
        try:
            chat = _ChatRequest.model_validate_json(await request.read())
        except ValidationError as error:
            problems = json.dumps(error.errors(include_url=False, include_input=False, include_context=False))
            return _error(400, f"the request is not understood: {problems}")
        if chat.model != self._model:
            return _error(404, f"the model {chat.model!r} is not served here, but {self._model!r}")
        prompt = self._text.encode([message.model_dump() for message in chat.messages])
        if len(prompt) >= self._positions:
            return _error(400, f"the prompt has {len(prompt)} tokens, the model positions for {self._positions}")
        completion = await asyncio.wrap_future(
            self._batcher.submit(
                CompletionRequest(
                    prompt=prompt,
                    max_tokens=chat.max_tokens,
                    sampling=SamplingParameters(temperature=chat.temperature, top_p=chat.top_p),
                    seed=chat.seed,
                )
            )
        )
        return web.json_response(_response(chat.model, self._text.decode(completion.tokens), len(prompt), completion))


def make_runner(chat: ChatApplication) -> web.AppRunner:
    """Make the server of a chat application.

    A client that goes away, after its time-out for one, takes its request along: it would keep its row otherwise, while
    what the client asks next waits for one.
    """
    application = web.Application()
    application.add_routes(chat.routes())
    return web.AppRunner(application, access_log=None, handler_cancellation=True)


def _response(model: str, content: str, prompt_tokens: int, completion: Completion) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": completion.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion.generated,
            "total_tokens": prompt_tokens + completion.generated,
        },
    }


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
