"""One server, as the pool sees it: what it may be sent, and what has come of it so far."""

import asyncio
from dataclasses import dataclass, field

from distill_runtime.client.concurrency import ConcurrencySearch
from distill_runtime.client.trouble import Trouble

_THROTTLED_FACTOR = 0.7
_FEW_THROTTLED = 0.1
"""Share of 429 up to which the limit falls by no more than it."""
_SECONDS_BETWEEN_DECREASES = 1.0
_SECONDS_TO_RECOVER = 60.0
"""In which the limit rises from nothing to the configured number, if nobody answers anything."""
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
    """One server. Times are the event loop's.

    Attributes:
        most: requests that it may have at once by configuration.
        search: for the number that it can make use of.
        limit: requests that it might have at once at the time `limit_set_at`, as far as 429 goes; see `limit_at`.
        in_flight: requests under way, oldest first.
        answered: requests and trivial questions that it has answered or refused.
        failures: troubles in a row, not counting 429.
        throttles: 429s in a row.
        throttling: the latest of them.
        trusted: whether it may be sent requests: it has answered since it was last doubted.
        on_trial: whether it may be sent one request though it is not trusted, if no endpoint is.
        in_question: whether it is to be asked something trivial, which everything that is not trusted is.
        rests: how often it has rested since it last answered a request.
        rest_seconds: how long to leave it alone before it is asked something trivial.
        heard_at: time of its last answer.
        failing_since: start of the first trouble after the last answer, or of everything if it has not answered yet.
    """

    url: str
    most: int
    limit: float
    limit_set_at: float
    search: ConcurrencySearch = field(init=False)
    in_flight: dict["Lease", None] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    failures: int = 0
    throttles: int = 0
    throttling: Throttling = field(default_factory=Throttling)
    trusted: bool = False
    on_trial: bool = False
    in_question: asyncio.Event = field(default_factory=asyncio.Event)
    rests: int = 0
    rest_seconds: float = 0.0
    heard_at: float = field(init=False)
    failing_since: float | None = field(init=False)
    trouble: Trouble | None = None

    def __post_init__(self) -> None:
        self.search = ConcurrencySearch(self.most)
        self.heard_at = self.failing_since = self.limit_set_at
        self.in_question.set()

    @property
    def unheard_of(self) -> bool:
        """Whether nothing is known of it yet: neither an answer nor a failure."""
        return not self.answered and self.trouble is None

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
        if not self.trusted:
            return float("inf")
        missing = len(self.in_flight) + 1 - self.limit_at(now)
        if missing <= 0:
            return now
        if len(self.in_flight) >= self.search.ceiling:
            return float("inf")
        return now + missing * _SECONDS_TO_RECOVER / self.most

    def hear(self, now: float) -> None:
        """Trust it: it has just answered something."""
        self.answered += 1
        self.failures = self.throttles = 0
        self.trusted, self.on_trial, self.heard_at, self.rest_seconds = True, False, now, 0.0
        self.failing_since = self.trouble = None
        self.in_question.clear()

    def silent_seconds(self, now: float) -> float:
        """Tell for how long it has had a request without answering anything."""
        oldest = next(iter(self.in_flight), None)
        return 0.0 if oldest is None else now - max(self.heard_at, oldest.started)

    def works_on_something(self, now: float) -> bool:
        """Tell whether it has taken a request, and so is not dead, if it ever was alive."""
        oldest = next(iter(self.in_flight), None)
        return bool(self.answered) and oldest is not None and now - oldest.started > _ACCEPTED_AFTER_SECONDS

    def describe(self, now: float) -> str:
        """Say how it fails, and since when."""
        what = "has not answered yet" if self.trouble is None else self.trouble.what
        return f"{self.url} {what}, for {now - (self.failing_since or now):.0f} s now"


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """The right to send one request to an endpoint; given back with what came of it.

    Attributes:
        started: when it was given.
        in_flight: requests that the endpoint has with this one.
        recall: to send the request within; it raises TimeoutError once the request is to be asked elsewhere.
    """

    endpoint: Endpoint
    started: float
    in_flight: int
    recall: asyncio.Timeout = field(default_factory=lambda: asyncio.Timeout(None))
