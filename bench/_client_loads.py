"""The work that clients are compared by: so many chat completions, so many at once.

    python bench/_client_loads.py openai URL --requests 1000 --concurrency 100

Prints the CPU-seconds that the process spent on it, beyond starting up, as JSON. It is a script of its own because
the peer lives in an environment of its own.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

MODEL = "fast"
PROMPT = "You will be given a problem. Please reason step by step. What is 2 + 2, and why?"


async def with_openai(url: str, requests: int, concurrency: int, streamed: bool) -> int:
    """Ask with the openai SDK, keep what the answer says in memory, and count the answers."""
    import openai  # noqa: PLC0415 - only there in the peer's environment

    numbers = iter(range(requests))
    answers: list[str] = []
    # Patient even in connecting: a thousand at once take longer than its five seconds on a machine that others load.
    async with openai.AsyncOpenAI(base_url=url, api_key="EMPTY", max_retries=0, timeout=3600) as client:

        async def work() -> None:
            for _ in numbers:
                messages = [{"role": "user", "content": PROMPT}]
                options: dict[str, Any] = {"model": MODEL, "messages": messages, "max_tokens": 16384}
                if not streamed:
                    completion = await client.chat.completions.create(**options)
                    answers.append(completion.choices[0].message.reasoning_content)
                    continue
                chunks = await client.chat.completions.create(**options, stream=True)
                pieces = [
                    getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
                    async for chunk in chunks
                    if chunk.choices
                ]
                answers.append("".join(pieces))

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return len(answers)


async def with_ours(url: str, requests: int, concurrency: int, streamed: bool) -> int:
    """Ask with our client, journal and all, and count the answers that reached the disk."""
    from distill_runtime.client.ask import Client, ClientSettings  # noqa: PLC0415
    from distill_runtime.client.journal import Journal  # noqa: PLC0415
    from distill_runtime.client.values import Request, chat_body, request_key  # noqa: PLC0415

    def make_requests() -> Iterator[Request]:
        for number in range(requests):
            body = chat_body(
                MODEL, system_prompt="", user_prompt=PROMPT, max_tokens=16384, temperature=0.6, top_p=0.95, seed=None
            )
            record = {"uuid": str(number), "generation": 0, "prompt": PROMPT, "answer": "4"}
            yield Request(request_key(str(number), 0), body, record)

    settings = ClientSettings(
        endpoints=[url],
        model=MODEL,
        api_key=None,
        max_concurrent_requests=concurrency,
        request_timeout_seconds=3600,
        max_attempts=10,
        unavailable_timeout_seconds=600,
        stall_timeout_seconds=600 if streamed else None,
    )
    with tempfile.TemporaryDirectory() as directory, Journal(Path(directory) / "journal.jsonl") as journal:
        async with Client(settings) as client:
            await client.ask_all(make_requests(), journal.append)
        return journal.tally.finish_reasons.total()


def run_ours(work: Awaitable[int]) -> int:
    from distill_runtime.process import event_loop  # noqa: PLC0415

    return event_loop.run(work)  # type: ignore[arg-type]


def run_openai(work: Awaitable[int]) -> int:
    import uvloop  # noqa: PLC0415

    return uvloop.run(work)  # type: ignore[arg-type]


LOADS: dict[str, tuple[Callable[..., Awaitable[int]], Callable[[Awaitable[int]], int]]] = {
    "ours": (with_ours, run_ours),
    "openai": (with_openai, run_openai),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=LOADS)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    ask, run = LOADS[options.client]
    run(ask(options.url, options.concurrency, options.concurrency, options.stream))  # imports, connections, caches
    before = processor_seconds()
    answered = run(ask(options.url, options.requests, options.concurrency, options.stream))
    json.dump({"answered": answered, "processor_seconds": processor_seconds() - before}, sys.stdout)


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
