"""One exchange with an OpenAI-compatible endpoint over HTTP."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from distill_runtime.client.trouble import Kind, Trouble, classify_status
from distill_runtime.client.values import Reply

_CONNECT_SECONDS = 10.0
_MODELS_SECONDS = 30.0
# Below the five seconds after which uvicorn, and so vLLM, closes an idle connection: a request must not be sent
# into a connection that is being closed.
_KEEP_ALIVE_SECONDS = 4.0
_FINISH_REASON = re.compile(r"\w{1,40}")


class ChatTransport:
    """Connections to endpoints, as an asynchronous context manager.

    Args:
        api_key: sent as a bearer token, if there is one; no message ever shows it.
        request_timeout_seconds: longest that an exchange may take, from the connection to the last byte.
    """

    def __init__(self, api_key: str | None, request_timeout_seconds: float) -> None:
        self._api_key = api_key
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> "ChatTransport":
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=self._timeout,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def complete(self, endpoint: str, body: Mapping[str, Any]) -> Reply | Trouble:
        """Ask for a chat completion."""
        result = await self._exchange("POST", f"{endpoint}/chat/completions", orjson.dumps(body), self._timeout)
        return result if isinstance(result, Trouble) else _parse_completion(result)

    async def models(self, endpoint: str) -> tuple[str, ...] | Trouble:
        """Ask which models an endpoint serves."""
        timeout = aiohttp.ClientTimeout(total=_MODELS_SECONDS, sock_connect=_CONNECT_SECONDS)
        result = await self._exchange("GET", f"{endpoint}/models", None, timeout)
        if isinstance(result, Trouble):
            return result
        try:
            return tuple(str(model["id"]) for model in orjson.loads(result)["data"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Trouble(Kind.INVALID_RESPONSE, "lists its models in a form that is not OpenAI's")

    async def _exchange(
        self, method: str, url: str, data: bytes | None, limits: aiohttp.ClientTimeout
    ) -> bytes | Trouble:
        try:
            async with self._session.request(method, url, data=data, timeout=limits, allow_redirects=False) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return _classify_error(error, limits)
        if response.status == HTTPStatus.OK:
            return content
        return self._without_key(classify_status(response.status, response.headers, content, datetime.now(UTC)))

    def _without_key(self, trouble: Trouble) -> Trouble:
        """A server may quote the key that it rejects."""
        if not self._api_key or self._api_key not in trouble.what:
            return trouble
        return Trouble(trouble.kind, trouble.what.replace(self._api_key, "***"), trouble.retry_after)


def _classify_error(error: aiohttp.ClientError | TimeoutError, limits: aiohttp.ClientTimeout) -> Trouble:
    """Judge an exchange that brought no response."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind, what = Kind.UNREACHABLE, f"does not accept a connection within {limits.sock_connect:.0f} s"
        case aiohttp.ClientConnectorDNSError():
            kind, what = Kind.UNREACHABLE, f"has a host name that is not found ({error.os_error.strerror})"
        case aiohttp.ClientConnectorCertificateError():
            kind, what = Kind.MISCONFIGURED, f"has a certificate that is not trusted ({error.certificate_error})"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            kind, what = Kind.UNREACHABLE, "refuses connections"
        case aiohttp.ClientConnectorError():
            kind, what = Kind.UNREACHABLE, f"is not reachable ({error.os_error.strerror or error.os_error})"
        case TimeoutError():
            kind, what = Kind.TIMEOUT, f"does not answer within {limits.total:.0f} s"
        case aiohttp.InvalidURL():
            kind, what = Kind.MISCONFIGURED, f"is not a URL ({error})"
        case _:
            kind, what = Kind.DISCONNECTED, f"breaks the connection off ({error or type(error).__name__})"
    return Trouble(kind, what)


def _parse_completion(content: bytes) -> Reply | Trouble:
    try:
        completion = orjson.loads(content)
        choice = completion["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if not isinstance(text, str):  # a list of parts
            text = "".join(part.get("text", "") for part in text)
        finish_reason = choice.get("finish_reason")
        usage = completion.get("usage") or {}
        return Reply(
            content=text,
            reasoning=message.get("reasoning_content") or message.get("reasoning") or None,
            finish_reason=finish_reason if finish_reason and _FINISH_REASON.fullmatch(finish_reason) else "unknown",
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            model=str(completion.get("model", "")),
        )
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        start = content[:80].decode("utf-8", "replace")
        return Trouble(Kind.INVALID_RESPONSE, f"answers 200 with something that is no chat completion: {start!r}")
