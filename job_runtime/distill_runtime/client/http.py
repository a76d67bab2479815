"""Requests to one server over aiohttp, with what may become of them sorted by whose trouble it is."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

CONNECT_SECONDS = 10.0
_MOST_BYTES, _MOST_STREAMED_BYTES = 64 * 2**20, 512 * 2**20
"""Of a response: an answer of a million tokens has some 5 MB, and 200 MB as a stream of single tokens."""
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
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


class ConnectError(Exception):
    """There is no connection; the cause says why."""


class Disconnected(Exception):  # noqa: N818 - named for what happened
    """The connection broke before the response was complete."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Attributes:
        headers: by names whose case does not matter.
        body: empty if it went to the request's `on_body`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpServer:
    """One server, by its base URL. Belongs to the event loop that it is first used in.

    A proxy is used as HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. aiohttp's own `trust_env` reads them again for each
    request, which costs twice what the rest of a request does.

    Args:
        base_url: such as https://host:8443/v1; requests go to paths below it.
        headers: sent with every request.

    Attributes:
        proxy_host: host of the proxy that is used, if one is.

    Raises:
        ValueError: if the URL has no host, has a user, or another scheme than http and https.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
            raise ValueError(f"{base_url!r} is not an http or https URL with a host")
        if url.username is not None:
            raise ValueError(f"the URL of {url.hostname} has a user in it, which is sent as an API key instead")
        self._base_url = base_url.rstrip("/")
        self._proxy = _proxy_for(url)
        self.proxy_host = urlsplit(self._proxy).hostname if self._proxy is not None else None
        self._headers = {"Accept-Encoding": "identity", **headers}
        self._session: aiohttp.ClientSession | None = None

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
            total_seconds: longest that it may take.
            silence_seconds: longest that it may take between two pieces of the response, if that is limited.
            on_body: called with each piece of the body of a 200, which the response then lacks.

        Raises:
            ConnectError: no connection, within ten seconds.
            Disconnected: the connection broke, or what came is not HTTP, or far more than any answer.
            TimeoutError: the response took too long.
        """
        timeout = aiohttp.ClientTimeout(total_seconds, connect=CONNECT_SECONDS, sock_read=silence_seconds)
        session = self._session = self._session or self._open()
        try:
            async with session.request(
                method, self._base_url + path, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                return await _read(response, on_body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ConnectError from _cause(error)
        except aiohttp.ClientHttpProxyError as error:  # its text has the proxy's URL, password and all
            raise ConnectError from OSError(f"the proxy answers {error.status} {error.message}")
        except aiohttp.InvalidURL:
            raise ConnectError from OSError("its URL, or that of its proxy, is none")
        except TimeoutError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
            raise Disconnected("closed before the response was complete") from error
        except aiohttp.ClientResponseError as error:
            raise Disconnected(f"what it sends is not HTTP: {' '.join(error.message.split())}") from error
        except aiohttp.ClientError as error:
            raise Disconnected(str(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, socket_factory=_socket)
        return aiohttp.ClientSession(
            connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar(), proxy=self._proxy
        )


async def _read(response: aiohttp.ClientResponse, on_body: Callable[[bytes], None] | None) -> Response:
    pieces: list[bytes] = []
    take, room = pieces.append, _MOST_BYTES
    if on_body is not None and response.status == HTTPStatus.OK:
        take, room = on_body, _MOST_STREAMED_BYTES
    async for piece in response.content.iter_any():
        room -= len(piece)
        if room < 0:
            raise Disconnected("its response has no end")
        take(piece)
    return Response(response.status, response.headers, b"".join(pieces))


def _proxy_for(url: SplitResult) -> str | None:
    proxy = getproxies().get(url.scheme)
    if not proxy or url.hostname in _THIS_MACHINE or proxy_bypass(url.netloc) or _is_in_exempt_network(url.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_in_exempt_network(host: str | None) -> bool:
    """Tell whether NO_PROXY names a network, such as 10.0.0.0/8, that the host is an address of."""
    networks = [entry.strip() for entry in getproxies().get("no", "").split(",") if "/" in entry]
    try:
        address = ip_address(host or "")
        return any(address in ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEP_ALIVE_OPTIONS:
        made.setsockopt(level, option, value)
    return made


def _cause(error: aiohttp.ClientError) -> BaseException:
    """Give what the operating system, or the TLS library, says."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return error.certificate_error
        case aiohttp.ClientConnectorError():
            return error.os_error
        case _:
            return error
