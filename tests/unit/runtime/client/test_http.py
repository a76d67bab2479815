"""What becomes of a request, by servers that are scripted byte by byte over a socket."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from distill_runtime.client import http
from distill_runtime.client.http import ConnectError, Disconnected, HttpServer, Response

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Script = Callable[[bytes], list[bytes | float | None]]
"""Gives what to do with a request: send bytes, wait seconds, or close."""


class Peer:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(
                    b"0" if head.startswith(b"CONNECT") else head.lower().split(b"content-length:")[1].split()[0]
                )
                self.requests.append(head + await reader.readexactly(length))
                for step in self.script(self.requests[-1]):
                    if step is None:
                        return
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(step)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peer(*steps: bytes | float | None, script: Script | None = None) -> AsyncIterator[Peer]:
    peer = Peer(script or (lambda _request: list(steps)))
    server = await asyncio.start_server(peer.handle, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/"
    yield peer
    server.close()


Open = Callable[..., HttpServer]


@pytest.fixture
async def open_server() -> AsyncIterator[Open]:
    """Gives servers by their URLs, and closes their connections."""
    opened: list[HttpServer] = []

    def open_server(url: str, headers: Mapping[str, str] | None = None) -> HttpServer:
        opened.append(HttpServer(url, headers or {}))
        return opened[-1]

    yield open_server
    for server in opened:
        await server.close()


async def ask(server: HttpServer, **options: float) -> Response:
    return await server.request("POST", "/chat", b'{"a":1}', options.get("total", 5.0), options.get("silence"))


async def test_a_request_is_one_message_with_the_headers_given(open_server: Open) -> None:
    async with peer(HELLO) as other:
        response = await ask(open_server(other.url, {"Authorization": "Bearer k"}))
    assert (response.status, response.body) == (200, b"hello")
    lines = other.requests[0].split(b"\r\n")
    assert lines[0] == b"POST /v1/chat HTTP/1.1"
    host = other.url.split("/")[2].encode()
    assert {b"Host: " + host, b"Authorization: Bearer k", b"Content-Length: 7"} <= set(lines)
    assert lines[-1] == b'{"a":1}'


async def test_connections_are_kept_and_used_again(open_server: Open) -> None:
    async with peer(HELLO) as other:
        server = open_server(other.url)
        for _ in range(5):
            await ask(server)
        await asyncio.gather(*(ask(server) for _ in range(3)))
        assert other.connections == 3


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    open_server: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_IDLE_SECONDS", 0.01)
    async with peer(HELLO) as other:
        server = open_server(other.url)
        await ask(server)
        await asyncio.sleep(0.05)
        await ask(server)
        assert other.connections == 2


async def test_a_connection_that_the_server_closes_is_not_used_again(open_server: Open) -> None:
    async with peer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", None) as other:
        server = open_server(other.url)
        await ask(server)
        await ask(server)
        assert other.connections == 2


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([None], "closed before"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", None], "closed before"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe", None], "closed before"),
        ([b"SSH-2.0-OpenSSH\r\n"], "not HTTP"),
    ],
    ids=["nothing", "short", "chunk missing", "another protocol"],
)
async def test_half_a_response_is_none(open_server: Open, steps: list[bytes | float | None], message: str) -> None:
    async with peer(*steps) as other:
        server = open_server(other.url)
        with pytest.raises(Disconnected, match=message):
            await ask(server)


async def test_a_response_without_end_is_not_kept(open_server: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_BYTES", 4)
    async with peer(HELLO) as other:
        server = open_server(other.url)
        with pytest.raises(Disconnected, match="no end"):
            await ask(server)


async def test_a_request_ends_when_its_time_is_over(open_server: Open) -> None:
    async with peer(HELLO[:30], 30.0) as other:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(open_server(other.url), total=0.2)
        assert 0.15 < time.monotonic() - begun < 20


async def test_silence_ends_a_request_and_a_slow_stream_does_not(open_server: Open) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
    async with peer(head, *[0.02, b"a"] * 40) as slow, peer(head, b"he", 30.0) as silent:
        assert (await ask(open_server(slow.url), total=60.0, silence=20.0)).body == b"a" * 40
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(open_server(silent.url), silence=0.3)
        assert 0.25 < time.monotonic() - begun < 20


async def test_after_a_time_out_the_late_response_is_not_taken_for_another_requests(open_server: Open) -> None:
    def script(request: bytes) -> list[bytes | float | None]:
        number = b"%d" % (len(other.requests))
        return [0.2 if number == b"1" else 0.0, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + number]

    async with peer(script=script) as other:
        server = open_server(other.url)
        with pytest.raises(TimeoutError):
            await ask(server, total=0.1)
        assert (await ask(server)).body == b"2"


async def test_pieces_of_a_success_go_where_they_are_wanted_and_those_of_an_error_stay(open_server: Open) -> None:
    pieces: list[bytes] = []
    async with peer(HELLO) as good, peer(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno") as bad:
        response = await open_server(good.url).request("POST", "/", b"", 5.0, None, pieces.append)
        assert (response.body, b"".join(pieces)) == (b"", b"hello")
        response = await open_server(bad.url).request("POST", "/", b"", 5.0, None, pieces.append)
        assert (response.status, response.body, len(b"".join(pieces))) == (500, b"no", 5)


async def test_no_connection_is_an_error_of_its_own(open_server: Open) -> None:
    async with peer(HELLO) as other:
        url = other.url
    with pytest.raises(ConnectError) as error:
        await ask(open_server(url))
    assert isinstance(error.value.__cause__, ConnectionRefusedError)


async def test_a_proxy_is_used_where_the_environment_says_so(
    open_server: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with peer(HELLO) as proxy, peer(HELLO) as this_machine:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1/").removeprefix("http://"))
        monkeypatch.setenv("no_proxy", ".svc")
        assert (await ask(open_server("http://teacher.example/v1"))).body == b"hello"
        assert (await ask(open_server(this_machine.url))).body == b"hello"
        with pytest.raises(ConnectError) as error:
            await ask(open_server("http://teacher.svc/v1"))
    assert isinstance(error.value.__cause__, socket.gaierror)
    (proxied,) = proxy.requests
    assert proxied.startswith(b"POST http://teacher.example/v1/chat HTTP/1.1\r\n")
    assert len(this_machine.requests) == 1


async def test_what_a_proxy_refuses_is_said_without_its_password(
    open_server: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with peer(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://bob:s3cret@").removesuffix("/v1/"))
        server = open_server("https://teacher.example/v1")
        with pytest.raises(ConnectError) as error:
            await ask(server)
    assert str(error.value.__cause__) == "the proxy answers 407 Proxy Authentication Required"
    assert server.proxy_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_used"),
    [
        ("10.0.0.0/8,.svc", "http://10.1.2.3:8000/v1", False),
        ("10.0.0.0/8,.svc", "http://11.1.2.3:8000/v1", True),
        ("10.0.0.0/8,.svc", "http://teacher.team-a.svc/v1", False),
        ("rubbish/x", "http://10.1.2.3:8000/v1", True),
        ("", "http://[::1]:8000/v1", False),
    ],
)
def test_no_proxy_names_hosts_domains_and_networks(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, is_used: bool
) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert HttpServer(url, {}).proxy_host == ("proxy.example" if is_used else None)


def test_a_user_in_a_url_is_refused() -> None:
    with pytest.raises(ValueError, match="has a user in it"):
        HttpServer("https://me:secret@host/v1", {})


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://", "host:8000/v1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        HttpServer(url, {})
