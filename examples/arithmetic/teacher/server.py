"""A rule-based teacher: not a model, but a server that speaks like one.

It answers two-digit additions over the OpenAI chat completions API with a chain of thought in `reasoning_content`,
and misbehaves at the rates that it is started with, so that a pipeline can be watched handling it:

    python server.py --wrong 0.15 --truncated 0.05 --too-many-requests 0.01 --unavailable 0.01

Every decision follows from a seed (see `rules`). `GET /stats` counts what was done.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from rules import Addition, Answer, Faults, Outcome, choose_outcome, choose_refusal, count_tokens, work_out

MODEL = "rule-based-arithmetic"
DEFAULT_MAX_TOKENS = 1024
RETRY_AFTER_SECONDS = 1
REFUSALS: dict[HTTPStatus, type[web.HTTPError]] = {
    HTTPStatus.TOO_MANY_REQUESTS: web.HTTPTooManyRequests,
    HTTPStatus.SERVICE_UNAVAILABLE: web.HTTPServiceUnavailable,
}


@dataclass(frozen=True)
class Question:
    """What one request asks."""

    addition: Addition
    prompt_tokens: int
    max_tokens: int
    seed: int


class Teacher:
    """Answers requests, and counts what it answered and what it refused."""

    def __init__(self, faults: Faults, seed: int, latency_seconds: float) -> None:
        self._faults = faults
        self._seed = seed
        self._latency_seconds = latency_seconds
        self._answered: Counter[Outcome] = Counter()
        self._refused: Counter[HTTPStatus] = Counter()
        # Refusals of requests not answered yet: a retry must be a new decision, or it would never succeed.
        self._attempts: Counter[tuple[Addition, int]] = Counter()

    def application(self) -> web.Application:
        """Build the web application."""
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_get("/stats", self._stats)
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._chat_completions)
        return application

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "answered": {outcome: self._answered[outcome] for outcome in Outcome},
                "refused": {str(status.value): self._refused[status] for status in REFUSALS},
            }
        )

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "npu-distill"}]}
        )

    async def _chat_completions(self, request: web.Request) -> web.Response:
        question = read_question(await request.text())
        await asyncio.sleep(self._latency_seconds)
        self._refuse_sometimes(question)
        outcome = choose_outcome(self._faults, self._seed, question.addition, question.seed)
        self._answered[outcome] += 1
        return web.json_response(completion(question, work_out(question.addition, outcome, question.max_tokens)))

    def _refuse_sometimes(self, question: Question) -> None:
        key = (question.addition, question.seed)
        status = choose_refusal(self._faults, self._seed, *key, self._attempts[key])
        if status is None:
            del self._attempts[key]
            return
        self._attempts[key] += 1
        self._refused[status] += 1
        raise _error(REFUSALS[status], "refused on purpose; ask again", {"Retry-After": str(RETRY_AFTER_SECONDS)})


def read_question(body: str) -> Question:
    """Read the body of a chat completions request.

    Raises:
        aiohttp.web.HTTPException: 400 or 404 with an OpenAI-style error, when it asks for what is not served.
    """
    try:
        request = json.loads(body)
        model = request["model"]
        messages = [(message["role"], message["content"]) for message in request["messages"]]
        max_tokens = int(request.get("max_tokens") or DEFAULT_MAX_TOKENS)
        seed = int(request.get("seed") or 0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _error(web.HTTPBadRequest, f"not a chat completions request: {error!r}") from error
    if model != MODEL:
        raise _error(web.HTTPNotFound, f"The model `{model}` does not exist. This server has `{MODEL}`.")
    if request.get("stream") or request.get("n", 1) != 1:
        raise _error(web.HTTPBadRequest, "This server gives one answer a request, and does not stream it.")
    asked = [content for role, content in messages if role == "user"]
    addition = Addition.find(asked[-1]) if asked else None
    if addition is None:
        example = Addition(12, 34).problem
        raise _error(web.HTTPBadRequest, f"This server answers two-digit additions only, such as: {example}")
    return Question(addition, sum(count_tokens(content) for _, content in messages), max_tokens, seed)


def completion(question: Question, answer: Answer) -> dict[str, object]:
    """Give the body of the response, as vLLM and MindIE write it with a reasoning parser."""
    return {
        "id": f"chatcmpl-{question.addition.first}-{question.addition.second}-{question.seed}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "reasoning_content": answer.reasoning,
                    "content": answer.content,
                },
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": question.prompt_tokens,
            "completion_tokens": answer.tokens,
            "total_tokens": question.prompt_tokens + answer.tokens,
        },
    }


def _error(kind: type[web.HTTPError], message: str, headers: dict[str, str] | None = None) -> web.HTTPError:
    phrase = HTTPStatus(kind.status_code).phrase
    body = json.dumps({"error": {"message": message, "type": phrase, "code": kind.status_code}})
    return kind(text=body, headers=headers, content_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A rule-based teacher of two-digit addition. It is not a model.")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every decision (default: 0)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply (default: 0)")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of answers that are wrong")
    parser.add_argument("--truncated", type=float, default=0.0, help="share of answers that never end and are cut off")
    parser.add_argument("--too-many-requests", type=float, default=0.0, help="share of requests refused with 429")
    parser.add_argument("--unavailable", type=float, default=0.0, help="share of requests refused with 503")
    options = parser.parse_args()
    try:
        faults = Faults(options.wrong, options.truncated, options.too_many_requests, options.unavailable)
    except ValueError as error:
        parser.error(str(error))
    web.run_app(Teacher(faults, options.seed, options.latency).application(), port=options.port, access_log=None)


if __name__ == "__main__":
    main()
