"""The search for a number of requests at once: a simulated server shows what it makes of healthy and saturated ones."""

import heapq
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from distill_runtime.client.concurrency import ConcurrencySearch

ALWAYS = 10**9


@dataclass(frozen=True)
class Server:
    """A server of chat completions, in a world of its own time.

    Attributes:
        slots: answers that it works on at once, by the number of answers after which it has so many; others wait.
        half_speed_at: answers at once that halve its speed for each of them; None if it always has the same.
        same_length: whether all answers have 1,000 tokens, rather than 20 to 32,000.
        unevenness: by which share a token of one answer may take longer or shorter than of another.
    """

    slots: Mapping[int, int]
    half_speed_at: int | None = None
    same_length: bool = False
    unevenness: float = 0.2

    def tokens(self, draw: random.Random) -> int:
        return 1000 if self.same_length else max(20, min(32_000, int(draw.lognormvariate(6.5, 0.9))))


@dataclass(frozen=True)
class Outcome:
    """What came of asking it: tokens a second, and requests at once at most and over the last quarter's average."""

    tokens_per_second: float
    most_in_flight: int
    late_in_flight: float


def ask(server: Server, most: int, answers: int, search: ConcurrencySearch | None, seed: int) -> Outcome:
    """Keep as many requests under way as the search says, or as is allowed, until all are answered.

    The server's work is measured in seconds that an answer alone would take; the clock runs slower with more of them.
    """
    draw = random.Random(seed)
    now = work = 0.0
    running: list[tuple[float, int, int, int, float]] = []
    waiting: deque[tuple[float, int, int, int, float]] = deque()
    sent = done = tokens = slots = 0
    in_flight: list[int] = []
    while done < answers:
        slots = server.slots.get(done, slots)
        allowed = most if search is None else search.ceiling
        while sent < answers and len(running) + len(waiting) < allowed:
            sent += 1
            length = server.tokens(draw)
            seconds = (30 + length) * draw.uniform(1 - server.unevenness, 1 + server.unevenness) / 1000
            waiting.append((seconds, sent, length, len(running) + len(waiting) + 1, now))
            if len(running) < slots:
                needed, *rest = waiting.popleft()
                heapq.heappush(running, (work + needed, *rest))
        in_flight.append(len(running) + len(waiting))
        speed = 1.0 if server.half_speed_at is None else 1 / (1 + len(running) / server.half_speed_at)
        ended, _, length, at_start, sent_at = heapq.heappop(running)
        now += (ended - work) / speed
        work = ended
        done += 1
        tokens += length
        while waiting and len(running) < slots:
            needed, *rest = waiting.popleft()
            heapq.heappush(running, (work + needed, *rest))
        if search is not None:
            search.observe(at_start, length, now - sent_at)
    late = in_flight[answers * 3 // 4 : -most]
    return Outcome(tokens / now, max(in_flight), sum(late) / len(late))


def compare(server: Server, most: int, answers: int, seed: int) -> tuple[float, Outcome]:
    """Give throughput as a share of what all that is allowed at once brings."""
    found = ask(server, most, answers, ConcurrencySearch(most), seed)
    return found.tokens_per_second / ask(server, most, answers, None, seed).tokens_per_second, found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("server", "most", "answers", "least"),
    [
        (Server({0: ALWAYS}), 100, 10_000, 0.99),
        (Server({0: ALWAYS}, same_length=True), 100, 5_000, 0.99),
        (Server({0: ALWAYS}, unevenness=0.8), 100, 20_000, 0.97),
        (Server({0: ALWAYS}), 1000, 50_000, 0.97),
        (Server({0: ALWAYS}, half_speed_at=20), 100, 10_000, 0.99),
        (Server({0: ALWAYS}, half_speed_at=200), 1000, 50_000, 0.97),
    ],
)
def test_a_server_that_makes_use_of_all_gets_all(
    server: Server, most: int, answers: int, least: float, seed: int
) -> None:
    share, found = compare(server, most, answers, seed)
    assert share >= least
    assert found.late_in_flight >= 0.95 * most


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("slots", "most", "same_length"),
    [(16, 100, False), (64, 1000, False), (64, 1000, True), (256, 1000, False)],
)
def test_a_saturated_server_is_kept_busy_and_not_loaded_far_beyond(
    slots: int, most: int, same_length: bool, seed: int
) -> None:
    share, found = compare(Server({0: slots}, same_length=same_length), most, 20_000, seed)
    assert share >= 0.98
    assert found.late_in_flight <= 4 * slots
    assert found.most_in_flight <= 600


@pytest.mark.parametrize("seed", range(3))
def test_it_follows_a_server_that_loses_or_gains_slots(seed: int) -> None:
    share, found = compare(Server({0: 64, 6000: 16}), 100, 20_000, seed)
    assert share >= 0.98
    assert found.late_in_flight < 80
    share, found = compare(Server({0: 16, 8000: 90}), 100, 40_000, seed)
    assert share >= 0.93
    assert found.late_in_flight > 85


def test_it_stays_between_one_and_the_configured_number() -> None:
    for most in (1, 2, 10, 300):
        search = ConcurrencySearch(most)
        draw = random.Random(most)
        for _ in range(20_000):
            search.observe(search.ceiling, draw.randint(1, 100), draw.uniform(0.1, 100.0))
            assert 1 <= search.ceiling <= most
