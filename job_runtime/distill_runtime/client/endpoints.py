"""Which endpoint takes the next request, how many it may have at once, and which are failing.

Four rules, all local to an endpoint:

* Least in flight: the next request goes to the endpoint that has the fewest.
* A limit on requests in flight that gives way: it starts at the configured number, falls by a third when the endpoint
  answers 429, at most once a second, and rises again, with each answer (additive increase, multiplicative decrease, as
  in TCP) and with time. It starts at the top, and rises with time, because answers may take ten minutes, while a
  request too many is refused at once and costs next to nothing. Where no more than a tenth of what came back lately
  was 429 it falls by that share only: some servers refuse one request in a hundred whatever their load.
* A ceiling on requests in flight, where more of them would only wait in the endpoint's queue (see `concurrency`).
* A breaker: an endpoint that cannot be reached, or fails five times in a row, rests for a while that doubles, and
  then gets a single request at a time until it answers one.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill_runtime.client.concurrency import ConcurrencySearch
from distill_runtime.client.trouble import Kind, Trouble

_THROTTLED_FACTOR = 0.7
_FEW_THROTTLED = 0.1
"""Share of 429 up to which the limit falls by no more than it."""
_SECONDS_BETWEEN_DECREASES = 1.0
_SECONDS_TO_RECOVER = 60.0
"""In which the limit rises from nothing to the configured number, if nobody answers anything."""
_THROTTLES_TO_REST = 3
_FAILURES_TO_BREAK = 5
_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 15.0
_ACCEPTED_AFTER_SECONDS = 30.0
"""A request that has been under way for so long was accepted: an endpoint that works on one is not dead."""


@dataclass(slots=True, eq=False)
class Throttling:
    """The 429s of a second, which together make the limit fall once.

    Attributes:
        began_at: time of the first of them.
        number: how many they are.
        limit: before the first of them, as far as it was made use of.
        answered: answers of the endpoint before the first of them.
        answered_before: answers before the first one of the second before, so that quiet times count.
    """

    began_at: float = float("-inf")
    number: int = 0
    limit: float = 0.0
    answered: int = 0
    answered_before: int = 0

    def add(self, endpoint: "Endpoint", now: float) -> None:
        """Lower the limit of an endpoint that has just answered 429."""
        if now - self.began_at >= _SECONDS_BETWEEN_DECREASES:
            self.began_at, self.number = now, 0
            self.limit = min(endpoint.limit_at(now), len(endpoint.in_flight) + 1)
            self.answered_before, self.answered = self.answered, endpoint.answered
        self.number += 1
        share = self.number / (self.number + endpoint.answered - self.answered_before)
        lowered = self.limit * (1 - share if share <= _FEW_THROTTLED else _THROTTLED_FACTOR)
        if lowered < endpoint.tolerated_at(now):
            endpoint.set_limit(lowered, now)


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server, as the pool sees it. Times are the event loop's.

    Attributes:
        most: requests that it may have at once by configuration.
        search: for the number that it can make use of.
        limit: requests that it might have at once at the time `limit_set_at`, as far as 429 goes; see `limit_at`.
        in_flight: start of each request under way, by a number, oldest first.
        failures: troubles in a row, not counting 429.
        throttles: 429s in a row.
        throttling: the latest of them.
        rests: how often it has rested since it last answered.
        failing_since: start of the first trouble after the last answer.
    """

    url: str
    most: int
    limit: float
    limit_set_at: float
    search: ConcurrencySearch = field(init=False)
    in_flight: dict[int, float] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    failures: int = 0
    throttles: int = 0
    throttling: Throttling = field(default_factory=Throttling)
    rests: int = 0
    resume_at: float = 0.0
    failing_since: float | None = None
    trouble: Trouble | None = None

    def __post_init__(self) -> None:
        self.search = ConcurrencySearch(self.most)

    @property
    def broken(self) -> bool:
        """Whether it gets only one request at a time, to see whether it is back."""
        unreachable = self.trouble is not None and self.trouble.kind is Kind.UNREACHABLE
        return self.failures >= _FAILURES_TO_BREAK or unreachable

    def limit_at(self, now: float) -> float:
        """Give how many requests it may have at once."""
        return min(self.search.ceiling, self.tolerated_at(now))

    def tolerated_at(self, now: float) -> float:
        """Give how many requests it may have at once as far as 429 goes."""
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
        if len(self.in_flight) >= self.search.ceiling:
            return float("inf")
        return max(self.resume_at, now + missing * _SECONDS_TO_RECOVER / self.most)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send one request to an endpoint; given back with what came of it.

    Attributes:
        in_flight: requests that the endpoint has with this one.
    """

    endpoint: Endpoint
    number: int
    in_flight: int


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
        lease = Lease(endpoint, next(self._numbers), len(endpoint.in_flight) + 1)
        endpoint.in_flight[lease.number] = now
        endpoint.sent += 1
        if self._waiting and self._choose(now) is not None:
            self._wake_one()
        return lease

    def answer(self, lease: Lease, tokens: int | None) -> None:
        """Give a lease back: the endpoint answered.

        Args:
            tokens: of the answer, at least 1; None if it tells nothing about the endpoint's speed.
        """
        endpoint, now = lease.endpoint, self._loop.time()
        started = endpoint.in_flight.pop(lease.number)
        self.answered += 1
        endpoint.answered += 1
        if tokens is not None:
            endpoint.search.observe(lease.in_flight, tokens, now - started)
        endpoint.failures = endpoint.throttles = endpoint.rests = 0
        endpoint.failing_since = endpoint.trouble = None
        limit = endpoint.tolerated_at(now)
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
        endpoint.throttling.add(endpoint, now)
        if not endpoint.in_flight and endpoint.throttles >= _THROTTLES_TO_REST:
            # Nothing that could answer, and nothing did: without a rest each waiting request would be refused in turn.
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
