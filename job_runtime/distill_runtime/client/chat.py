"""One exchange with an OpenAI-compatible endpoint."""

import socket
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson

from distill_runtime.client.completion import parse_completion, parse_json
from distill_runtime.client.http import CONNECT_SECONDS, ConnectError, Disconnected, HttpServer, Response
from distill_runtime.client.stream import StreamedCompletion
from distill_runtime.client.trouble import Kind, Trouble, classify_status
from distill_runtime.client.values import Reply
from distill_runtime.foundation.errors import WrongInput

_MODELS_SECONDS = 30.0


class ChatTransport:
    """Connections to endpoints.

    Args:
        endpoints: base URLs.
        api_key: sent as a bearer token, if there is one; no message ever shows it.
        request_timeout_seconds: longest that an exchange may take.
        stall_timeout_seconds: if given, answers are streamed, and an exchange fails when nothing came for so long.

    Raises:
        WrongInput: EndpointMisconfigured, for an endpoint that is no URL.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        api_key: str | None,
        request_timeout_seconds: float,
        stall_timeout_seconds: float | None,
    ) -> None:
        self._api_key = api_key
        self._timeout_seconds = request_timeout_seconds
        self._stall_seconds = stall_timeout_seconds
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            self._servers = {endpoint: HttpServer(endpoint, headers) for endpoint in endpoints}
        except ValueError as error:
            raise WrongInput("EndpointMisconfigured", f"{error}; correct the endpoint") from error

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.close()

    async def complete(self, endpoint: str, body: Mapping[str, Any]) -> Reply | Trouble:
        """Ask for a chat completion."""
        if self._stall_seconds is not None:
            return await self._complete_streamed(endpoint, body, self._stall_seconds)
        result = await self._exchange(endpoint, "POST", "/chat/completions", orjson.dumps(body), self._timeout_seconds)
        return result if isinstance(result, Trouble) else self._checked(parse_completion(result.body))

    async def models(self, endpoint: str) -> Mapping[str, str] | Trouble:
        """Ask which models an endpoint serves; gives for the name of each what it was loaded from, if that is told."""
        result = await self._exchange(endpoint, "GET", "/models", b"", _MODELS_SECONDS)
        if isinstance(result, Trouble):
            return result
        try:
            return {str(model["id"]): str(model.get("root") or "") for model in parse_json(result.body)["data"]}
        except (ValueError, LookupError, TypeError, AttributeError):
            return Trouble(Kind.INVALID_RESPONSE, "lists its models in a form that is not OpenAI's")

    async def _complete_streamed(self, endpoint: str, body: Mapping[str, Any], stall_seconds: float) -> Reply | Trouble:
        completion = StreamedCompletion()
        content = orjson.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        result = await self._exchange(
            endpoint, "POST", "/chat/completions", content, self._timeout_seconds, stall_seconds, completion
        )
        if isinstance(result, Trouble):
            return result
        return self._checked(completion.end())

    async def _exchange(
        self,
        endpoint: str,
        method: str,
        path: str,
        content: bytes,
        total_seconds: float,
        silence_seconds: float | None = None,
        completion: StreamedCompletion | None = None,
    ) -> Response | Trouble:
        on_body = None if completion is None else completion.feed
        server = self._servers[endpoint]
        try:
            response = await server.request(method, path, content, total_seconds, silence_seconds, on_body)
        except ConnectError as error:
            return _through_proxy(_classify_connect_error(error.__cause__), server)
        except Disconnected as error:
            return Trouble(Kind.DISCONNECTED, f"breaks the connection off ({error})")
        except TimeoutError:
            if silence_seconds is None:
                return Trouble(Kind.TIMEOUT, f"does not answer within {total_seconds:.0f} s")
            what = f"stops in the middle for {silence_seconds:.0f} s, or is not done after {total_seconds:.0f} s"
            return Trouble(Kind.TIMEOUT, what)
        if response.status == HTTPStatus.OK:
            return response
        trouble = classify_status(response.status, response.headers, response.body, datetime.now(UTC))
        return _through_proxy(self._without_key(trouble), server)

    def _checked(self, reply: Reply | Trouble) -> Reply | Trouble:
        return self._without_key(reply) if isinstance(reply, Trouble) else reply

    def _without_key(self, trouble: Trouble) -> Trouble:
        """A server may quote the key that it rejects."""
        if not self._api_key or self._api_key not in trouble.what:
            return trouble
        return Trouble(trouble.kind, trouble.what.replace(self._api_key, "***"), trouble.retry_after)


def _through_proxy(trouble: Trouble, server: HttpServer) -> Trouble:
    """Name the proxy, which may be what has answered, or has not."""
    if server.proxy_host is None:
        return trouble
    return Trouble(trouble.kind, f"{trouble.what}, through the proxy {server.proxy_host}", trouble.retry_after)


def _classify_connect_error(error: BaseException | None) -> Trouble:
    """Judge why there is no connection."""
    match error:
        case TimeoutError():
            kind, what = Kind.UNREACHABLE, f"does not accept a connection within {CONNECT_SECONDS:.0f} s"
        case socket.gaierror():
            kind, what = Kind.UNREACHABLE, f"has a host name that is not found ({error.strerror})"
        case ssl.SSLCertVerificationError():
            kind, what = Kind.MISCONFIGURED, f"has a certificate that is not trusted ({error.verify_message})"
        case ConnectionRefusedError():
            kind, what = Kind.UNREACHABLE, "refuses connections"
        case _:
            kind, what = Kind.UNREACHABLE, f"is not reachable ({error})"
    return Trouble(kind, what)
