"""HTTP/1.1 to one server, over connections that are kept alive: as little as asking a chat model takes.

A request is written in one piece and its response handed over whole, or piece by piece for a stream. Parsing is
llhttp's, the parser of Node.js. The same client over aiohttp 3.14 was measured beside this one: with it a request costs
1.8 to 2.1 times the CPU (.245 and .367 CPU-s per 1,000 at 100 and 1,000 in flight, against .137 and .176), for
redirects, cookies and compression that an inference server does not use. Proxies are not supported.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

import httptools

CONNECT_SECONDS = 10.0
# Below the five seconds after which uvicorn, and so vLLM, closes an idle connection: a request must not be sent
# into a connection that is being closed.
_IDLE_SECONDS = 4.0
# A request may take an hour without a byte either way. Probes tell a server that is gone from one that thinks, and
# keep load balancers from forgetting the connection (the shortest time among the large clouds is 350 s).
_KEEP_ALIVE_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)


class ConnectError(Exception):
    """There is no connection; the cause says why."""


class Disconnected(Exception):  # noqa: N818 - named for what happened
    """The connection broke before the response was complete."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Attributes:
        headers: with lower-case names.
        body: empty if it went to the request's `on_body`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpServer:
    """One server, by its base URL. Belongs to the event loop that it is first used in.

    Args:
        base_url: such as https://host:8443/v1; requests go to paths below it.
        headers: sent with every request.

    Raises:
        ValueError: if the URL has no host or another scheme than http and https.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{base_url!r} is not an http or https URL with a host")
        self._host = url.hostname
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._path = url.path.rstrip("/")
        lines = {"Host": url.netloc.rpartition("@")[2], "Accept-Encoding": "identity", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: list[_Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        body: bytes,
        total_seconds: float,
        silence_seconds: float | None = None,
        on_body: Callable[[bytes], None] | None = None,
    ) -> Response:
        """Send a request and wait for its response.

        Args:
            path: below the base URL.
            total_seconds: longest that it may take, once connected.
            silence_seconds: longest that it may take between two pieces of the response, if that is limited.
            on_body: called with each piece of the body of a 200, which the response then lacks.

        Raises:
            ConnectError: no connection, within ten seconds.
            Disconnected: the connection broke, or what came is not HTTP.
            TimeoutError: the response took too long.
        """
        connection = self._take_idle() or await self._connect()
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            response = await connection.send(head.encode("latin-1") + body, total_seconds, silence_seconds, on_body)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            self._idle.append(connection)
        return response

    def close(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop().abort()

    def _take_idle(self) -> "_Connection | None":
        """Take the connection that was used last; those that are too old go when they are met."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.used_at >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except OSError as error:
            raise ConnectError from error
        tcp = transport.get_extra_info("socket")
        for level, option, value in _KEEP_ALIVE_OPTIONS:
            tcp.setsockopt(level, option, value)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, with at most one request at a time. The `on_…` methods are llhttp's callbacks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[Response] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._on_body: Callable[[bytes], None] | None = None
        self._deadline = 0.0
        self._silence_seconds: float | None = None
        self.used_at = 0.0
        self.reusable = True

    async def send(
        self,
        request: bytes,
        total_seconds: float,
        silence_seconds: float | None,
        on_body: Callable[[bytes], None] | None,
    ) -> Response:
        now = self._loop.time()
        self._waiter = self._loop.create_future()
        self._on_body = on_body
        self._silence_seconds = silence_seconds
        self._deadline = now + total_seconds
        self.used_at = now
        first_check = total_seconds if silence_seconds is None else min(total_seconds, silence_seconds)
        self._timer = self._loop.call_later(first_check, self._check_time)
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            self._timer.cancel()
            self._waiter = None

    def abort(self) -> None:
        self.reusable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.used_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Disconnected(f"what it sends is not HTTP: {error}"))
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        delimited = "content-length" in self._headers or "transfer-encoding" in self._headers
        if error is None and self._headers and not delimited:
            self.on_message_complete()  # the end of the connection is the end of the body (RFC 9112, 6.3)
        else:
            self._fail(Disconnected(str(error) if error else "closed before the response was complete"))

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        if self._on_body is not None and self._parser.get_status_code() == HTTPStatus.OK:
            self._on_body(piece)
        else:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:  # an interim response; the real one follows
            return
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if self._waiter is not None and not self._waiter.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._waiter.set_result(Response(status, self._headers, body))
        else:
            self.reusable = False  # it answers what nobody asked

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _check_time(self) -> None:
        """End a request that takes too long; one that is only being streamed is looked at again later."""
        now = self._loop.time()
        silent_until = float("inf") if self._silence_seconds is None else self.used_at + self._silence_seconds
        next_check = min(self._deadline, silent_until)
        # The loop's clock has milliseconds: a timer may fire a little early.
        if now >= next_check - 0.002:
            self._fail(TimeoutError())
        else:
            self._timer = self._loop.call_later(next_check - now, self._check_time)
