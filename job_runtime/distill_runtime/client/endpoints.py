"""Which endpoint takes the next request, how many it may have at once, and which are failing.

Three rules, all local to an endpoint:

* Least in flight: the next request goes to the endpoint that has the fewest.
* A limit on requests in flight that gives way: it starts at the configured number, falls by a third when the endpoint
  answers 429, at most once a second, and rises again, with each answer (additive increase, multiplicative decrease, as
  in TCP) and with time. It starts at the top, and rises with time, because answers may take ten minutes, while a
  request too many is refused at once and costs next to nothing.
* A breaker: an endpoint that cannot be reached, or fails five times in a row, rests for a while that doubles, and
  then gets a single request at a time until it answers one.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill_runtime.client.trouble import Kind, Trouble

_THROTTLED_FACTOR = 0.7
_SECONDS_BETWEEN_DECREASES = 1.0
_SECONDS_TO_RECOVER = 60.0
"""In which the limit rises from nothing to the configured number, if nobody answers anything."""
_FAILURES_TO_BREAK = 5
_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 15.0
_ACCEPTED_AFTER_SECONDS = 30.0
"""A request that has been under way for so long was accepted: an endpoint that works on one is not dead."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server, as the pool sees it. Times are the event loop's.

    Attributes:
        most: the largest limit, which is the configured number.
        limit: requests that it might have at once at the time `limit_set_at`; see `limit_at`.
        in_flight: start of each request under way, by a number, oldest first.
        failures: troubles in a row, not counting 429.
        throttles: 429s in a row.
        rests: how often it has rested since it last answered.
        failing_since: start of the first trouble after the last answer.
    """

    url: str
    most: int
    limit: float
    limit_set_at: float
    in_flight: dict[int, float] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    failures: int = 0
    throttles: int = 0
    rests: int = 0
    resume_at: float = 0.0
    decreased_at: float = float("-inf")
    failing_since: float | None = None
    trouble: Trouble | None = None

    @property
    def broken(self) -> bool:
        """Whether it gets only one request at a time, to see whether it is back."""
        unreachable = self.trouble is not None and self.trouble.kind is Kind.UNREACHABLE
        return self.failures >= _FAILURES_TO_BREAK or unreachable

    def limit_at(self, now: float) -> float:
        """Give how many requests it may have at once."""
        return min(self.most, self.limit + (now - self.limit_set_at) * self.most / _SECONDS_TO_RECOVER)

    def set_limit(self, limit: float, now: float) -> None:
        """Start from another limit."""
        self.limit, self.limit_set_at = min(max(limit, 1.0), float(self.most)), now

    def room_at(self, now: float) -> float:
        """Give from when on it may be sent a request, if none comes back before; infinity if only then."""
        if self.broken:
            return float("inf") if self.in_flight else self.resume_at
        missing = len(self.in_flight) + 1 - self.limit_at(now)
        if missing <= 0:
            return self.resume_at
        if len(self.in_flight) >= self.most:
            return float("inf")
        return max(self.resume_at, now + missing * _SECONDS_TO_RECOVER / self.most)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send one request to an endpoint; given back with what came of it."""

    endpoint: Endpoint
    number: int


class EndpointPool:
    """The endpoints, shared by all workers of one event loop.

    Args:
        urls: base URLs.
        max_concurrent_requests: requests in flight to all endpoints together.
    """

    def __init__(self, urls: Sequence[str], max_concurrent_requests: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._total = max_concurrent_requests
        distinct = dict.fromkeys(url.rstrip("/") for url in urls)
        now, most = self._loop.time(), max_concurrent_requests
        self.endpoints = tuple(Endpoint(url, most, limit=float(most), limit_set_at=now) for url in distinct)
        self._numbers = itertools.count()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._wakes_at = float("inf")
        self.answered = 0

    async def acquire(self) -> Lease:
        """Wait until an endpoint has room."""
        while True:
            now = self._loop.time()
            endpoint = self._choose(now)
            if endpoint is not None:
                break
            turn = self._loop.create_future()
            self._waiting.append(turn)
            # At the same `now`: an endpoint that gets room between two looks at the clock would wake nobody.
            self._set_timer(now)
            await turn
        lease = Lease(endpoint, next(self._numbers))
        endpoint.in_flight[lease.number] = now
        endpoint.sent += 1
        if self._waiting and self._choose(now) is not None:
            self._wake_one()
        return lease

    def answer(self, lease: Lease) -> None:
        """Give a lease back: the endpoint answered."""
        endpoint, now = lease.endpoint, self._loop.time()
        del endpoint.in_flight[lease.number]
        self.answered += 1
        endpoint.answered += 1
        endpoint.failures = endpoint.throttles = endpoint.rests = 0
        endpoint.failing_since = endpoint.trouble = None
        limit = endpoint.limit_at(now)
        if limit < endpoint.most:
            endpoint.set_limit(limit + 1 / limit, now)
        self._wake_one()

    def fail(self, lease: Lease, trouble: Trouble) -> None:
        """Give a lease back: the endpoint failed."""
        endpoint, now = lease.endpoint, self._loop.time()
        started = endpoint.in_flight.pop(lease.number)
        endpoint.trouble = trouble
        if endpoint.failing_since is None:
            endpoint.failing_since = started
        if trouble.kind is Kind.THROTTLED:
            self._throttle(endpoint, now, trouble)
        else:
            endpoint.failures += 1
            # Requests that were under way together fail together, and that makes one rest, not many.
            if endpoint.broken and now >= endpoint.resume_at:
                endpoint.rests += 1
                rest = max(trouble.retry_after or 0.0, backoff(_FIRST_REST_SECONDS, endpoint.rests))
                endpoint.resume_at = now + min(rest, _LONGEST_REST_SECONDS)
        self._wake_one()

    def abandon(self, lease: Lease) -> None:
        """Give a lease back: nobody knows what the endpoint would have done."""
        del lease.endpoint.in_flight[lease.number]
        self._wake_one()

    def unavailable_seconds(self) -> float:
        """Tell since when no endpoint has answered or worked on anything; 0 as long as one does."""
        now = self._loop.time()
        since = float("-inf")
        for endpoint in self.endpoints:
            if endpoint.failing_since is None or _works_on_something(endpoint, now):
                return 0.0
            since = max(since, endpoint.failing_since)
        return now - since

    def describe_trouble(self) -> str:
        """Say which endpoints fail, how, and since when; empty if all is well."""
        now = self._loop.time()
        failing = [
            f"{endpoint.url} {endpoint.trouble.what}, for {now - endpoint.failing_since:.0f} s now"
            for endpoint in self.endpoints
            if endpoint.trouble is not None
            and endpoint.failing_since is not None
            and (endpoint.broken or not endpoint.in_flight)
        ]
        return "; ".join(failing)

    def _choose(self, now: float) -> Endpoint | None:
        if sum(len(endpoint.in_flight) for endpoint in self.endpoints) >= self._total:
            return None
        ready = [endpoint for endpoint in self.endpoints if endpoint.room_at(now) <= now]
        return min(ready, key=lambda endpoint: (len(endpoint.in_flight), endpoint.sent), default=None)

    def _throttle(self, endpoint: Endpoint, now: float, trouble: Trouble) -> None:
        endpoint.throttles += 1
        if now - endpoint.decreased_at >= _SECONDS_BETWEEN_DECREASES:
            endpoint.decreased_at = now
            reached = min(endpoint.limit_at(now), len(endpoint.in_flight) + 1)
            endpoint.set_limit(reached * _THROTTLED_FACTOR, now)
        if not endpoint.in_flight:
            # Nothing that could answer: without a rest each waiting request would be refused in turn.
            rest = trouble.retry_after or backoff(_FIRST_REST_SECONDS, endpoint.throttles)
            endpoint.resume_at = max(endpoint.resume_at, now + rest)

    def _wake_one(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _set_timer(self, now: float) -> None:
        """Wake a waiting worker when the first endpoint has room, by rest or by its rising limit."""
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


def _works_on_something(endpoint: Endpoint, now: float) -> bool:
    oldest = next(iter(endpoint.in_flight.values()), now)
    return now - oldest > _ACCEPTED_AFTER_SECONDS
