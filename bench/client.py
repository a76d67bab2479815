"""The client: CPU-seconds a request and a streamed token against the openai SDK, and a teacher on a bad day."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench import Row
from bench._client_loads import MODEL, PROMPT
from bench._fast_teacher import SHARE_429, SHARE_503, SHARE_CUT, SHARE_STALLED, TOKEN, fast_teacher
from bench._peers import peer_python
from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.values import Answer, Outcome, Request, chat_body, request_key
from distill_runtime.process import event_loop

REQUESTS = 5_000
PEER_REQUESTS = 1_000
STREAMED_ANSWERS = 200
PEER_STREAMED_ANSWERS = 10
FAULTY_REQUESTS = 5_000
STALL_SECONDS = 3.0
TOKENS_PER_ANSWER = 16 * 1024 // len(TOKEN)
FASTER = {100: 7.5, 1000: 8}
"""Requests in flight, and how many times our CPU-seconds the peer takes."""

STREAM_FASTER = 36


def measure() -> Iterator[Row]:
    """Measure all of it against a server that costs next to nothing."""
    peer = peer_python()
    with fast_teacher() as url:
        for concurrency, faster in FASTER.items():
            ours = 1000 / REQUESTS * load(Path(sys.executable), "ours", url, REQUESTS, concurrency)
            theirs = None if peer is None else load(peer, "openai", url, PEER_REQUESTS, concurrency)
            yield _row(f"client: CPU-s per 1,000 requests of 16 KB, {concurrency} in flight", ours, theirs, faster)
        ours = _per_million_tokens(Path(sys.executable), "ours", url, STREAMED_ANSWERS)
        theirs = None if peer is None else _per_million_tokens(peer, "openai", url, PEER_STREAMED_ANSWERS)
        yield _row("client: CPU-s per 1 M streamed tokens", ours, theirs, STREAM_FASTER)
    yield bad_day()


def load(python: Path, client: str, url: str, requests: int, concurrency: int, *more: str) -> float:
    """Give the CPU-seconds that a client spends on its requests."""
    script = Path(__file__).with_name("_client_loads.py")
    # Without -P this folder's operator.py is the standard library's.
    command = [python, "-P", script, client, url, "--requests", str(requests), "--concurrency", str(concurrency), *more]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert result["answered"] == requests
    return float(result["processor_seconds"])


def bad_day() -> Row:
    """Ask a teacher that refuses, throttles, stalls and hangs up; count what is lost and what it cost."""
    outcomes: list[Outcome] = []
    settings = ClientSettings(
        endpoints=[],
        model=MODEL,
        api_key=None,
        max_concurrent_requests=100,
        request_timeout_seconds=STALL_SECONDS,
        max_attempts=10,
        unavailable_timeout_seconds=600,
    )

    async def ask(url: str) -> None:
        async with Client(ClientSettings(**{**vars(settings), "endpoints": [url]})) as client:
            await client.ask_all(_requests(FAULTY_REQUESTS), outcomes.append)

    with fast_teacher("--faults") as url:
        begun = time.monotonic()
        event_loop.run(ask(url))
        seconds = time.monotonic() - begun
        with urllib.request.urlopen(f"{url}/models") as response:
            requests = json.load(response)["requests"]
    answered = len({outcome.request.key for outcome in outcomes if isinstance(outcome, Answer)})
    ideal = FAULTY_REQUESTS / (1 - SHARE_503 - SHARE_429 - SHARE_STALLED - SHARE_CUT)
    lost, ratio = FAULTY_REQUESTS - answered, requests / ideal
    return Row(
        "client: 10 % 503, 5 % 429, 1 % stalls, 1 % cut: rows lost, requests",
        f"{lost}, {ratio:.2f}x the ideal, {seconds:.0f} s",
        "",
        "0, <= 1.25x",
        lost == 0 and ratio <= 1.25,
    )


def _requests(number: int) -> Iterator[Request]:
    body = chat_body(
        MODEL, system_prompt="", user_prompt=PROMPT, max_tokens=16384, temperature=0.6, top_p=0.95, seed=None
    )
    for index in range(number):
        yield Request(request_key(str(index), 0), body, {})


def _per_million_tokens(python: Path, client: str, url: str, answers: int) -> float:
    return load(python, client, url, answers, 10, "--stream") / (answers * TOKENS_PER_ANSWER) * 1e6


def _row(name: str, ours: float, theirs: float | None, faster: float) -> Row:
    required = f"<= 1/{faster} of the peer"
    if theirs is None:
        return Row(name, f"{ours:.3f}", "not installed", required)
    ratio = theirs / ours
    return Row(name, f"{ours:.3f} (1/{ratio:.1f})", f"openai SDK {theirs:.2f}", required, ratio >= faster)
