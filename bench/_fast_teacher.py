"""A chat server that costs next to nothing, so that a benchmark measures its client.

It answers every POST with the same completion, or streams it if the request says `"stream":true`; nothing is parsed
that does not have to be. `GET` gives the models, and how many completions were asked for; questions for one token, by
which a client finds out whether it answers, do not count. With --faults, of a hundred requests ten get 503, five 429,
one no answer and one a broken connection; with --status, all get that.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

MODEL = "fast"
TOKEN = "step "
PROBE = b'"max_tokens":1,'
SHARE_503, SHARE_429, SHARE_STALLED, SHARE_CUT = 0.10, 0.05, 0.01, 0.01


def completion(kilobytes: int) -> bytes:
    """Give a completion of that size, most of it reasoning, as a teacher's is."""
    tokens = kilobytes * 1024 // len(TOKEN)
    return json.dumps(
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "reasoning_content": TOKEN * tokens,
                        "content": r"The answer is \boxed{4}.",
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": tokens + 20},
        }
    ).encode()


def stream(kilobytes: int) -> bytes:
    """Give the same completion as server-sent events of one token each, as vLLM sends them."""
    tokens = kilobytes * 1024 // len(TOKEN)
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": MODEL}

    def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    usage = {**head, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": tokens}}
    return b"".join(
        [
            event({"role": "assistant"}),
            event({"reasoning_content": TOKEN}) * tokens,
            event({"content": r"The answer is \boxed{4}."}),
            event({}, "stop"),
            b"data: " + json.dumps(usage).encode() + b"\n\n",
            b"data: [DONE]\n\n",
        ]
    )


def response(content: bytes, status: bytes = b"200 OK", content_type: bytes = b"application/json") -> bytes:
    """Give a whole HTTP response."""
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, content_type, len(content))
    return head + content


class FastTeacher:
    """What all connections share."""

    def __init__(self, kilobytes: int, faults: bool, delay_seconds: float, status: int) -> None:
        self.whole = response(completion(kilobytes), b"%d Scripted" % status)
        self.streamed = response(stream(kilobytes), b"%d Scripted" % status, b"text/event-stream")
        self.faults = faults
        self.delay_seconds = delay_seconds
        self.requests = 0
        # Faults that take turns by a fixed table would meet the same request again and again when few are in flight.
        self.random = random.Random(0)

    def models(self) -> bytes:
        return response(json.dumps({"data": [{"id": MODEL}], "requests": self.requests}).encode())

    def answer(self, body: bytes) -> bytes | None:
        """Give the response to a request; empty to say nothing, None to break the connection off."""
        self.requests += PROBE not in body
        draw = self.random.random() if self.faults else 1.0
        if draw < SHARE_503:
            return response(b"{}", b"503 Service Unavailable")
        if draw < SHARE_503 + SHARE_429:
            return response(b"{}", b"429 Too Many Requests")
        if draw < SHARE_503 + SHARE_429 + SHARE_STALLED:
            return b""
        if draw < SHARE_503 + SHARE_429 + SHARE_STALLED + SHARE_CUT:
            return None
        return self.streamed if b'"stream":true' in body or b'"stream": true' in body else self.whole


class Connection(asyncio.Protocol):
    """One connection, on which requests come one after the other."""

    def __init__(self, teacher: FastTeacher) -> None:
        self._teacher = teacher
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (headers_end := self._received.find(b"\r\n\r\n")) >= 0:
            headers = self._received[:headers_end].lower()
            at = headers.find(b"content-length:")
            length = int(headers[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            end = headers_end + 4 + length
            if len(self._received) < end:
                return
            body = self._received[headers_end:end]
            self._received = self._received[end:]
            answer = self._teacher.models() if headers.startswith(b"get") else self._teacher.answer(body)
            if answer is None:
                self._transport.abort()
            elif self._teacher.delay_seconds and not headers.startswith(b"get"):
                asyncio.get_running_loop().call_later(self._teacher.delay_seconds, self._write, answer)
            else:
                self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():  # whoever asked may have been killed meanwhile
            self._transport.write(answer)


async def serve(teacher: FastTeacher) -> None:
    """Serve on a free port and say on standard output which."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(teacher), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def fast_teacher(*options: str) -> Iterator[str]:
    """Run the server in a process of its own; gives its base URL."""
    command = [sys.executable, "-P", __file__, *options]  # without -P this folder's operator.py is the library's
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kilobytes", type=int, default=16)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    options = parser.parse_args()
    uvloop.run(serve(FastTeacher(options.kilobytes, options.faults, options.delay, options.status)))
