"""Which endpoint takes the next request, how many it may have at once, and which are failing.

* Only an endpoint that answers is sent requests. One that has not answered yet, cannot be reached, fails five times in
  a row, or fails with nothing else under way is asked something trivial instead, by the prober, until it does; between
  two such questions it rests for a while that doubles. So an endpoint that is dead, hangs, or answers nothing but 429
  or 500 keeps no request from another. While no endpoint answers at all, one that was asked in vain gets one request
  after each question: there may be something wrong with the question.
* The next request goes to an endpoint whose last word was no failure; among those to the one with the fewest in flight.
* A limit on requests in flight that gives way: it starts at the configured number, falls by a third when the endpoint
  answers 429, at most once a second, and rises again, with each answer (additive increase, multiplicative decrease, as
  in TCP) and with time. It starts at the top, and rises with time, because answers may take ten minutes, while a
  request too many is refused at once and costs next to nothing. Where no more than a tenth of what came back lately
  was 429 it falls by that share only: some servers refuse one request in a hundred whatever their load.
* A ceiling on requests in flight, where more of them would only wait in the endpoint's queue (see `concurrency`).
* An endpoint that falls silent while another answers, and does not even answer a trivial question, hangs: its requests
  are called back and asked elsewhere.
"""

import asyncio
import random
from collections import deque
from collections.abc import Collection, Sequence

from distill_runtime.client.endpoint import Endpoint, Lease
from distill_runtime.client.trouble import Kind, Trouble

_FAILURES_TO_DOUBT = 5
_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 15.0
_LONGEST_THROTTLED_REST_SECONDS = 60.0
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.05, 1.0
"""After which a request that waits for certain endpoints looks whether one of them has room; it doubles each time."""
_RESTS_TO_TRY = 2
_SHORTEST_SILENCE_SECONDS = 30.0
_SILENCE_FACTOR = 2.0
"""Times the longest answer so far that an endpoint may be silent before it is taken to hang."""
_PATIENCE_SECONDS = 5.0
"""For which it is nothing worth telling that an endpoint has not answered yet."""


class EndpointPool:
    """The endpoints, shared by all workers of one event loop.

    Args:
        urls: base URLs.
        max_concurrent_requests: requests in flight to all endpoints together.

    Attributes:
        answered: requests and trivial questions that were answered or refused.
    """

    def __init__(self, urls: Sequence[str], max_concurrent_requests: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._total = max_concurrent_requests
        distinct = dict.fromkeys(url.rstrip("/") for url in urls)
        now, most = self._loop.time(), max_concurrent_requests
        self.endpoints = tuple(Endpoint(url, most, limit=float(most), limit_set_at=now) for url in distinct)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._wakes_at = float("inf")
        self._longest_seconds = 0.0
        self.answered = 0

    async def acquire(self, avoided: Collection[Endpoint] = ()) -> Lease:
        """Wait until an endpoint has room; an avoided one is taken only if no other has."""
        while True:
            now = self._loop.time()
            endpoint = self._choose(now, avoided) or self._choose(now)
            if endpoint is not None:
                break
            turn = self._loop.create_future()
            self._waiting.append(turn)
            # With the `now` that it was chosen by: a rest that ends between two looks at the clock would wake nobody.
            self._set_timer(now)
            await turn
        lease = self._lease(endpoint, now)
        if self._waiting and self._choose(now) is not None:
            self._wake_one()
        return lease

    async def acquire_elsewhere(self, avoided: Collection[Endpoint], seconds: float) -> Lease | None:
        """Wait so long, but no longer than until an endpoint that is not avoided has room; None if none had."""
        end = self._loop.time() + seconds
        interval = _FIRST_LOOK_SECONDS if len(avoided) < len(self.endpoints) else seconds
        while True:
            now = self._loop.time()
            if (endpoint := self._choose(now, avoided)) is not None:
                return self._lease(endpoint, now)
            if now >= end:
                return None
            await asyncio.sleep(min(interval, end - now))
            interval = min(2 * interval, _LONGEST_LOOK_SECONDS)

    async def acquire_another(self, tried: Collection[Endpoint]) -> Lease | None:
        """Wait for an endpoint that was not tried; None if no other answers anything.

        One that has yet to be heard of is waited for: until its first trivial question is answered or fails.
        """
        while any(endpoint not in tried and (endpoint.trusted or endpoint.unheard_of) for endpoint in self.endpoints):
            if (lease := await self.acquire_elsewhere(tried, _LONGEST_LOOK_SECONDS)) is not None:
                return lease
        return None

    def answer(self, lease: Lease, tokens: int | None) -> None:
        """Give a lease back: the endpoint answered.

        Args:
            tokens: of the answer, at least 1; None if it tells nothing about the endpoint's speed.
        """
        endpoint, now = lease.endpoint, self._loop.time()
        del endpoint.in_flight[lease]
        self.answered += 1
        endpoint.hear(now)
        endpoint.rests = 0
        if tokens is not None:
            seconds = now - lease.started
            self._longest_seconds = max(self._longest_seconds, seconds)
            endpoint.search.observe(lease.in_flight, tokens, seconds)
        limit = endpoint.tolerated_at(now)
        if limit < endpoint.most:
            endpoint.set_limit(limit + 1 / limit, now)
        self._wake_one()

    def fail(self, lease: Lease, trouble: Trouble) -> None:
        """Give a lease back: the endpoint failed."""
        endpoint, now = lease.endpoint, self._loop.time()
        del endpoint.in_flight[lease]
        endpoint.trouble = trouble
        if endpoint.failing_since is None:
            endpoint.failing_since = lease.started
        if trouble.kind is Kind.THROTTLED:
            endpoint.throttles += 1
            endpoint.throttling.add(endpoint, now)
        else:
            endpoint.failures += 1
        is_doubtful = trouble.kind is Kind.UNREACHABLE or endpoint.failures >= _FAILURES_TO_DOUBT
        # Requests that were under way together fail together, and that makes one rest, not many.
        if endpoint.trusted and (is_doubtful or not endpoint.in_flight):
            self._rest(endpoint, trouble)
        self._wake_one()

    def abandon(self, lease: Lease) -> None:
        """Give a lease back: nobody knows what the endpoint would have done."""
        del lease.endpoint.in_flight[lease]
        self._wake_one()

    def vouch(self, endpoint: Endpoint) -> None:
        """Trust an endpoint again: it has answered something trivial."""
        self.answered += 1
        endpoint.hear(self._loop.time())
        self._wake_one()

    def doubt(self, endpoint: Endpoint, trouble: Trouble) -> None:
        """Send an endpoint nothing more: it has not answered something trivial. If it hangs, call its requests back."""
        now = self._loop.time()
        endpoint.trouble = trouble
        if endpoint.failing_since is None:
            endpoint.failing_since = now
        self._rest(endpoint, trouble)
        if trouble.kind is not Kind.UNREACHABLE and endpoint.rests >= _RESTS_TO_TRY:
            endpoint.on_trial = True
            self._wake_one()
        if self._hangs(endpoint, now):
            for lease in endpoint.in_flight:
                if not lease.recall.expired():
                    lease.recall.reschedule(now)

    def question_silent(self) -> None:
        """Have those endpoints asked something trivial that seem to hang."""
        now = self._loop.time()
        for endpoint in self.endpoints:
            if self._hangs(endpoint, now):
                endpoint.in_question.set()

    def unavailable_seconds(self) -> float:
        """Tell since when no endpoint has answered or worked on anything; 0 as long as one does."""
        now = self._loop.time()
        since = float("-inf")
        for endpoint in self.endpoints:
            if endpoint.failing_since is None or endpoint.works_on_something(now):
                return 0.0
            since = max(since, endpoint.failing_since)
        return now - since

    def describe_trouble(self) -> str:
        """Say which endpoints get no requests, or answer none, why, and since when; empty if all is well."""
        now = self._loop.time()
        return "; ".join(
            endpoint.describe(now)
            for endpoint in self.endpoints
            if endpoint.failing_since is not None
            and (not endpoint.trusted or not endpoint.in_flight)
            and (endpoint.trouble is not None or now - endpoint.failing_since > _PATIENCE_SECONDS)
        )

    def describe_outage(self) -> str:
        """Say of all endpoints how they fail, and since when, while none answers."""
        now = self._loop.time()
        return "; ".join(endpoint.describe(now) for endpoint in self.endpoints)

    def _choose(self, now: float, avoided: Collection[Endpoint] = ()) -> Endpoint | None:
        if sum(len(endpoint.in_flight) for endpoint in self.endpoints) >= self._total:
            return None
        ready = [endpoint for endpoint in self.endpoints if endpoint.room_at(now) <= now]
        if not ready and not any(endpoint.trusted for endpoint in self.endpoints):
            ready = [endpoint for endpoint in self.endpoints if endpoint.on_trial and not endpoint.in_flight]
        return min((endpoint for endpoint in ready if endpoint not in avoided), key=_preference, default=None)

    def _lease(self, endpoint: Endpoint, now: float) -> Lease:
        lease = Lease(endpoint, now, len(endpoint.in_flight) + 1)
        endpoint.in_flight[lease] = None
        endpoint.sent += 1
        endpoint.on_trial = False
        return lease

    def _rest(self, endpoint: Endpoint, trouble: Trouble) -> None:
        """Leave an endpoint alone for a while, and then have it asked something trivial."""
        endpoint.trusted = False
        endpoint.rests += 1
        throttled = trouble.kind is Kind.THROTTLED
        longest = _LONGEST_THROTTLED_REST_SECONDS if throttled else _LONGEST_REST_SECONDS
        rest = max(trouble.retry_after or 0.0, backoff(_FIRST_REST_SECONDS, endpoint.rests))
        endpoint.rest_seconds = min(rest, longest)
        endpoint.in_question.set()

    def _hangs(self, endpoint: Endpoint, now: float) -> bool:
        """Tell whether an endpoint is silent for longer than answers take, while another one answers."""
        patience = max(_SHORTEST_SILENCE_SECONDS, _SILENCE_FACTOR * self._longest_seconds)
        return endpoint.silent_seconds(now) > patience and any(
            other.failing_since is None for other in self.endpoints if other is not endpoint
        )

    def _wake_one(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _set_timer(self, now: float) -> None:
        """Wake a waiting worker when the first endpoint has room by its rising limit."""
        room_at = min(endpoint.room_at(now) for endpoint in self.endpoints)
        if now < room_at < self._wakes_at:
            self._wakes_at = room_at
            self._loop.call_at(room_at, self._resume)

    def _resume(self) -> None:
        self._wakes_at = float("inf")
        self._wake_one()


def backoff(first_seconds: float, failures: int) -> float:
    """Give how long to wait after so many failures in a row: it doubles up to a minute, half of it at random.

    The random part keeps requests that failed together from coming back together.
    """
    longest = min(60.0, first_seconds * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)


def _preference(endpoint: Endpoint) -> tuple[bool, int, int]:
    return endpoint.failing_since is not None, len(endpoint.in_flight), endpoint.sent
