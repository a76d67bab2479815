"""The client: takes requests off one iterator, keeps so many in flight, and gives each exactly one outcome."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from distill_runtime.client.chat import ChatTransport
from distill_runtime.client.endpoints import Endpoint, EndpointPool, Lease, backoff
from distill_runtime.client.refusals import Refusals, endpoint_refuses
from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.client.values import Answer, Failure, Outcome, Reply, Request, chat_body
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.foundation.rows import CUT_OFF

logger = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 1.0
_WATCH_SECONDS = 1.0
_TRIVIAL_QUESTION = "What is 1 + 1?"
_CHARGED = frozenset({Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.DISCONNECTED, Kind.INVALID_RESPONSE, Kind.MISCONFIGURED})


@dataclass(frozen=True)
class ClientSettings:
    """Whom to ask, and how hard to try.

    Attributes:
        endpoints: base URLs, such as http://host:8000/v1.
        model: name that is sent with the probe; requests carry their own.
        api_key: bearer token, or None.
        max_attempts: failed exchanges after which a request is given up, if the endpoints answer others.
        unavailable_timeout_seconds: how long no endpoint may answer anything before the client gives up.
        stall_timeout_seconds: if given, answers are streamed, and a request fails when nothing came for so long.
    """

    endpoints: Sequence[str]
    model: str
    api_key: str | None = field(repr=False)
    max_concurrent_requests: int
    request_timeout_seconds: float
    max_attempts: int
    unavailable_timeout_seconds: float
    stall_timeout_seconds: float | None = None


class Client:
    """Asks endpoints many things at once; an asynchronous context manager.

    An outage is told apart from a request that no endpoint can answer: a failed exchange counts against a request
    only if the endpoints answered something else meanwhile. While they answer nothing at all, requests wait, and the
    client raises EndpointUnreachable when that has lasted too long, so that no request is written off for what is not
    its fault. Nor is it for a refusal by an endpoint that answers nothing (see `refusals`).
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._transport: ChatTransport
        self._pool: EndpointPool
        self._refusals = Refusals(settings.max_concurrent_requests)

    async def __aenter__(self) -> "Client":
        self._pool = EndpointPool(self._settings.endpoints, self._settings.max_concurrent_requests)
        self._transport = ChatTransport(
            (endpoint.url for endpoint in self._pool.endpoints),
            self._settings.api_key,
            self._settings.request_timeout_seconds,
            self._settings.stall_timeout_seconds,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.close()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(len(endpoint.in_flight) for endpoint in self._pool.endpoints)

    def describe_trouble(self) -> str:
        """Say which endpoints fail, how, and since when; empty if all is well."""
        return self._pool.describe_trouble()

    async def check_endpoints(self) -> None:
        """Make sure that every endpoint which can be reached accepts the key and serves the model.

        Raises:
            WrongInput: EndpointMisconfigured or ModelNotServed, with the names of the models that are.
        """
        for endpoint in self._pool.endpoints:
            models = await self._transport.models(endpoint.url)
            if not isinstance(models, Trouble) and self._settings.model in models:
                continue
            # The list may be wrong: gateways leave out aliases, and not every server has it. An answer counts.
            result = await self._ask_something_trivial(endpoint)
            if isinstance(result, Trouble) and result.kind is Kind.MISCONFIGURED:
                if isinstance(models, Trouble) or not models:
                    raise _misconfigured(endpoint, result)
                raise WrongInput(
                    "ModelNotServed",
                    f"{endpoint.url} does not serve {self._settings.model!r}; it serves {', '.join(models)}",
                )
            if isinstance(models, Trouble):
                logger.warning("%s %s", endpoint.url, models.what)

    async def ask_all(self, requests: Iterator[Request], take: Callable[[Outcome], None]) -> None:
        """Ask everything, and hand each outcome to `take` as soon as it is there, in no particular order.

        Args:
            requests: read only as fast as they are asked.
            take: called in the event loop's thread, so it must be quick; an outcome that it has returned from is
                never asked again.

        Raises:
            WrongInput: EndpointMisconfigured or EndpointRefuses.
            Retryable: EndpointUnreachable.
            (in an ExceptionGroup, which `event_loop.run` unwraps)
        """
        async with asyncio.TaskGroup() as watch:
            watcher = watch.create_task(self._watch_for_outage())
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._settings.max_concurrent_requests):
                    workers.create_task(self._work(requests, take))
            watcher.cancel()
        await self._judge_refusals(take)

    async def _work(self, requests: Iterator[Request], take: Callable[[Outcome], None]) -> None:
        for request in requests:
            outcome = await self._settle(request, request.body)
            if request.body_if_truncated is not None and isinstance(outcome, Answer) and _is_truncated(outcome):
                outcome = _kept(outcome, await self._settle(request, request.body_if_truncated))
            for settled in self._refusals.settle(outcome):
                take(settled)

    async def _judge_refusals(self, take: Callable[[Outcome], None]) -> None:
        """Have those settled that are left of endpoints which were asked nothing else, by a question that is no reason
        to refuse anything."""
        for endpoint, refusals in self._refusals.held.items():
            result = await self._transport.complete(endpoint, _trivial_instead(refusals[-1].request.body))
            if isinstance(result, Trouble):
                if result.kind in (Kind.REFUSED, Kind.MISCONFIGURED):
                    raise endpoint_refuses(refusals)
                raise Retryable("EndpointUnreachable", f"{endpoint} {result.what}, after it refused what it was asked")
            for refusal in refusals:
                take(refusal)

    async def _settle(self, request: Request, body: Mapping[str, Any]) -> Outcome:
        """Ask until there is an outcome."""
        loop = asyncio.get_running_loop()
        attempts = charged = 0
        while True:
            answered_before = self._pool.answered
            lease = await self._pool.acquire()
            attempts += 1
            started = loop.time()
            result = await self._exchange(lease, body)
            url = lease.endpoint.url
            if isinstance(result, Reply):
                return Answer(request, result, url, attempts, loop.time() - started)
            if result.kind is Kind.MISCONFIGURED and not lease.endpoint.answered:
                raise _misconfigured(lease.endpoint, result)
            if result.kind in _CHARGED:
                charged += await self._is_its_own(attempts, answered_before)
            if result.kind is Kind.REFUSED or charged >= self._settings.max_attempts:
                return Failure(request, result.kind.value, f"{url} {result.what}", url, attempts)
            await asyncio.sleep(result.retry_after or backoff(_FIRST_BACKOFF_SECONDS, attempts))

    async def _exchange(self, lease: Lease, body: Mapping[str, Any]) -> Reply | Trouble:
        try:
            result = await self._transport.complete(lease.endpoint.url, body)
        except BaseException:
            self._pool.abandon(lease)
            raise
        if isinstance(result, Reply):
            # Of servers that count no tokens, answers are taken to be equally long.
            self._pool.answer(lease, result.completion_tokens or 1)
        elif result.kind is Kind.REFUSED:
            self._pool.answer(lease, None)
        else:
            self._pool.fail(lease, result)
        return result

    async def _is_its_own(self, attempts: int, answered_before: int) -> bool:
        """Tell whether a failure was the request's own: the endpoints answered something else at the time.

        The last requests of all have nothing else beside them. Once such a request has had its attempts, a trivial
        one is asked in its stead.
        """
        if self._pool.answered > answered_before:
            return True
        return attempts > self._settings.max_attempts and await self._is_alive()

    async def _is_alive(self) -> bool:
        """Tell whether an endpoint answers something trivial."""
        for endpoint in self._pool.endpoints:
            result = await self._ask_something_trivial(endpoint)
            if isinstance(result, Reply) or result.kind is Kind.REFUSED:
                return True
        return False

    async def _ask_something_trivial(self, endpoint: Endpoint) -> Reply | Trouble:
        body = chat_body(
            self._settings.model,
            system_prompt="",
            user_prompt=_TRIVIAL_QUESTION,
            max_tokens=1,
            temperature=0.0,
            top_p=1.0,
            seed=None,
        )
        return await self._transport.complete(endpoint.url, body)

    async def _watch_for_outage(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._pool.unavailable_seconds() > self._settings.unavailable_timeout_seconds:
                raise Retryable(
                    "EndpointUnreachable",
                    f"no endpoint has answered for {self._settings.unavailable_timeout_seconds:.0f} s: "
                    f"{self.describe_trouble()}",
                )


def _trivial_instead(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give a request with the same parameters and system message, and a question that every model can be asked."""
    system = [message for message in body["messages"] if message["role"] == "system"]
    return {**body, "messages": [*system, {"role": "user", "content": _TRIVIAL_QUESTION}]}


def _is_truncated(answer: Answer) -> bool:
    return answer.reply.finish_reason == CUT_OFF


def _kept(truncated: Answer, longer: Outcome) -> Answer:
    """Choose between an answer that was cut off and what came of asking for a longer one."""
    attempts = truncated.attempts + longer.attempts
    if isinstance(longer, Answer):
        return replace(longer, attempts=attempts, discarded=truncated.reply)
    return replace(truncated, attempts=attempts)


def _misconfigured(endpoint: Endpoint, trouble: Trouble) -> WrongInput:
    return WrongInput(
        "EndpointMisconfigured",
        f"{endpoint.url} {trouble.what}; correct the endpoint, the model's name or the API key",
    )
