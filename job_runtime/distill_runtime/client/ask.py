"""The client: takes requests off one iterator, keeps so many in flight, and gives each exactly one outcome."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from distill_runtime.client.chat import ChatTransport
from distill_runtime.client.endpoint import Endpoint, Lease
from distill_runtime.client.endpoints import EndpointPool, backoff
from distill_runtime.client.failures import HeldFailures
from distill_runtime.client.probes import Prober, trivial_instead
from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.client.values import Answer, Failure, Outcome, Reply, Request
from distill_runtime.foundation.errors import Retryable
from distill_runtime.foundation.rows import CUT_OFF

_FIRST_BACKOFF_SECONDS = 1.0
_WATCH_SECONDS = 1.0
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
    only if the endpoints answered something else meanwhile, be it a trivial question. While they answer nothing at all,
    requests wait, and the client raises EndpointUnreachable when that has lasted too long, so that no request is
    written off for what is not its fault. Nor is it where all of them fare the same (see `failures`).
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._transport: ChatTransport
        self._pool: EndpointPool
        self._prober: Prober
        self._failures = HeldFailures(settings.max_concurrent_requests)

    async def __aenter__(self) -> "Client":
        self._pool = EndpointPool(self._settings.endpoints, self._settings.max_concurrent_requests)
        self._transport = ChatTransport(
            (endpoint.url for endpoint in self._pool.endpoints),
            self._settings.api_key,
            self._settings.request_timeout_seconds,
            self._settings.stall_timeout_seconds,
        )
        self._prober = Prober(self._transport, self._pool, self._settings.model)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.close()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(len(endpoint.in_flight) for endpoint in self._pool.endpoints)

    @property
    def answering(self) -> Sequence[str]:
        """Base URLs of the endpoints that have answered, and not failed since in a way that tells of more failures."""
        return [endpoint.url for endpoint in self._pool.endpoints if endpoint.trusted]

    def describe_trouble(self) -> str:
        """Say which endpoints fail, how, and since when; empty if all is well."""
        return self._pool.describe_trouble()

    async def check_endpoints(self) -> None:
        """Make sure that every endpoint which answers within half a minute accepts the key and serves the model.

        Raises:
            WrongInput: EndpointMisconfigured or ModelNotServed (in an ExceptionGroup, as `ask_all`).
        """
        async with asyncio.TaskGroup() as checks:
            for endpoint in self._pool.endpoints:
                checks.create_task(self._prober.check(endpoint))

    async def ask_all(self, requests: Iterator[Request], take: Callable[[Outcome], None]) -> None:
        """Ask everything, and hand each outcome to `take` as soon as it is certain, in no particular order.

        Args:
            requests: read only as fast as they are asked.
            take: called in the event loop's thread, so it must be quick; an outcome that it has returned from is
                never asked again.

        Raises:
            WrongInput: EndpointMisconfigured, ModelNotServed or EndpointRefuses.
            Retryable: EndpointUnreachable, or EndpointRefuses by endpoints that answered before.
            (in an ExceptionGroup, which `event_loop.run` unwraps)
        """
        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(self._prober.look_after(endpoint)) for endpoint in self._pool.endpoints]
            tasks.append(background.create_task(self._watch()))
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._settings.max_concurrent_requests):
                    workers.create_task(self._work(requests, take))
            if not self._failures.answered:
                await self._judge_failures(take)
            for failure in self._failures.release():
                take(failure)
            for task in tasks:
                task.cancel()

    async def _work(self, requests: Iterator[Request], take: Callable[[Outcome], None]) -> None:
        for request in requests:
            outcome = await self._settle(request, request.body)
            if request.body_if_truncated is not None and isinstance(outcome, Answer) and _is_truncated(outcome):
                outcome = _kept(outcome, await self._settle(request, request.body_if_truncated))
            for settled in self._failures.settle(outcome):
                take(settled)
            if self._failures.are_too_many:
                await self._judge_failures(take)

    async def _judge_failures(self, take: Callable[[Outcome], None]) -> None:
        """Have those settled that are held back, if a question that is no reason to fail is answered."""
        failures = self._failures.release()
        if not failures:
            return
        request = failures[-1].request
        trivial = await self._settle(request, trivial_instead(request.body))
        if isinstance(trivial, Failure):
            raise self._failures.explain(failures, trivial)
        for failure in failures:
            take(failure)

    async def _settle(self, request: Request, body: Mapping[str, Any]) -> Outcome:
        """Ask until there is an outcome."""
        loop = asyncio.get_running_loop()
        attempts = charged = 0
        refused: set[Endpoint] = set()
        lease = await self._pool.acquire()
        answered_before = self._pool.answered
        while True:
            endpoint = lease.endpoint
            attempts += 1
            started = loop.time()
            result = await self._exchange(lease, body)
            if isinstance(result, Reply):
                return Answer(request, result, endpoint.url, attempts, loop.time() - started)
            failure = Failure(request, result.kind.value, f"{endpoint.url} {result.what}", endpoint.url, attempts)
            if result.kind is Kind.REFUSED:
                refused.add(endpoint)
                another = await self._pool.acquire_another(refused)
                if another is None:
                    return failure
                lease = another
                continue
            if result.kind is Kind.MISCONFIGURED and not endpoint.answered:
                raise await self._prober.misconfigured(endpoint, result)
            charged += self._is_its_own(result, endpoint, answered_before)
            answered_before = self._pool.answered
            if charged >= self._settings.max_attempts:
                return failure
            # Where there was no connection it is the endpoint that rests.
            pause = 0.0 if result.kind is Kind.UNREACHABLE else backoff(_FIRST_BACKOFF_SECONDS, attempts)
            elsewhere = await self._pool.acquire_elsewhere([endpoint], result.retry_after or pause)
            lease = elsewhere or await self._pool.acquire([endpoint])

    async def _exchange(self, lease: Lease, body: Mapping[str, Any]) -> Reply | Trouble:
        try:
            async with lease.recall:
                result = await self._transport.complete(lease.endpoint.url, body)
        except TimeoutError:
            result = Trouble(Kind.UNREACHABLE, "does not answer anything any more")
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

    def _is_its_own(self, trouble: Trouble, endpoint: Endpoint, answered_before: int) -> bool:
        """Tell whether a failure was the request's own: something else was answered since it was sent or last failed.

        If nothing was, the endpoint is asked something trivial, which will tell the next time. A 429 says as much about
        the load, so it counts only where it is the first since the endpoint's last answer.
        """
        is_answering = self._pool.answered > answered_before
        if trouble.kind is Kind.THROTTLED:
            return is_answering and endpoint.throttles == 1
        if trouble.kind in _CHARGED and not is_answering:
            endpoint.in_question.set()
        return is_answering and trouble.kind in _CHARGED

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self._pool.question_silent()
            if self._pool.unavailable_seconds() > self._settings.unavailable_timeout_seconds:
                raise Retryable(
                    "EndpointUnreachable",
                    f"no endpoint has answered for {self._settings.unavailable_timeout_seconds:.0f} s: "
                    f"{self._pool.describe_outage()}",
                )


def _is_truncated(answer: Answer) -> bool:
    return answer.reply.finish_reason == CUT_OFF


def _kept(truncated: Answer, longer: Outcome) -> Answer:
    """Choose between an answer that was cut off and what came of asking for a longer one."""
    attempts = truncated.attempts + longer.attempts
    if isinstance(longer, Answer):
        return replace(longer, attempts=attempts, discarded=truncated.reply)
    return replace(truncated, attempts=attempts)
