import asyncio
import itertools

import pytest

from distill_runtime.client import endpoints
from distill_runtime.client.endpoints import Endpoint, EndpointPool, Lease, backoff
from distill_runtime.client.trouble import Kind, Trouble

THROTTLED = Trouble(Kind.THROTTLED, "answers 429: slow down")
UNREACHABLE = Trouble(Kind.UNREACHABLE, "refuses connections")
SERVER_ERROR = Trouble(Kind.SERVER_ERROR, "answers 503: loading")


async def acquire(pool: EndpointPool, number: int) -> list[Lease]:
    return [await asyncio.wait_for(pool.acquire(), 30) for _ in range(number)]


async def is_full(pool: EndpointPool) -> bool:
    try:
        await asyncio.wait_for(pool.acquire(), 0.05)
    except TimeoutError:
        return True
    return False


async def test_the_least_busy_endpoint_is_next() -> None:
    pool = EndpointPool(["http://a", "http://b"], 10)
    first = await acquire(pool, 4)
    assert [lease.endpoint.url for lease in first] == ["http://a", "http://b", "http://a", "http://b"]
    pool.answer(first[1], None)
    pool.answer(first[3], None)
    assert [lease.endpoint.url for lease in await acquire(pool, 2)] == ["http://b", "http://b"]


async def test_no_more_are_in_flight_than_allowed_over_all_endpoints() -> None:
    pool = EndpointPool(["http://a", "http://b"], 3)
    leases = await acquire(pool, 3)
    assert await is_full(pool)
    pool.answer(leases[0], None)
    await acquire(pool, 1)


async def test_whoever_waits_is_served_when_a_lease_comes_back() -> None:
    pool = EndpointPool(["http://a"], 1)
    (lease,) = await acquire(pool, 1)
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    for task in waiting:
        await asyncio.sleep(0)
        pool.answer(lease, None)
        lease = await asyncio.wait_for(task, 30)


async def test_429_lowers_the_limit_once_a_second_and_answers_raise_it() -> None:
    pool = EndpointPool(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:10]:
        pool.fail(lease, THROTTLED)
    endpoint = pool.endpoints[0]
    assert endpoint.limit == pytest.approx(70)
    for lease in leases[10:80]:
        pool.answer(lease, None)
    assert endpoint.limit == pytest.approx(71, abs=0.2)


async def test_few_429_among_answers_lower_the_limit_by_their_share() -> None:
    pool = EndpointPool(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:49]:
        pool.answer(lease, None)
    pool.fail(leases[49], THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(51 * 0.98)


async def test_429_that_come_together_lower_the_limit_by_a_third_though_answers_came_before() -> None:
    pool = EndpointPool(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:50]:
        pool.answer(lease, None)
    for lease in leases[50:60]:
        pool.fail(lease, THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(50 * 0.7)


async def test_an_endpoint_gets_no_more_than_it_can_make_use_of() -> None:
    pool = EndpointPool(["http://a"], 1000)
    endpoint = pool.endpoints[0]
    await acquire(pool, endpoint.search.ceiling)
    assert endpoint.search.ceiling < 1000
    assert await is_full(pool)


async def test_whoever_waits_for_a_ceiling_that_rises_is_served() -> None:
    pool = EndpointPool(["http://a"], 1000)
    begun = pool.endpoints[0].search.ceiling
    leases = await acquire(pool, begun)
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(1000 - begun)]
    await asyncio.sleep(0)
    while pool.endpoints[0].search.ceiling == begun:
        pool.answer(leases.pop(), 100)
    await asyncio.sleep(0.01)
    assert len(pool.endpoints[0].in_flight) == pool.endpoints[0].search.ceiling
    for task in waiting:
        task.cancel()


async def test_429_lowers_the_limit_below_what_was_in_flight_not_below_what_was_allowed() -> None:
    pool = EndpointPool(["http://a"], 1000)
    leases = await acquire(pool, 10)
    pool.fail(leases[0], THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(7)


async def test_the_limit_rises_with_time_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_SECONDS_TO_RECOVER", 5.0)
    pool = EndpointPool(["http://a"], 20)
    leases = await acquire(pool, 20)
    for lease in leases[:10]:
        pool.fail(lease, THROTTLED)
    # 20 x 0.7 = 14 are allowed, 10 are in flight: four find room at once, two more within half a second.
    begun = asyncio.get_running_loop().time()
    await acquire(pool, 6)
    assert 0.25 < asyncio.get_running_loop().time() - begun < 15


async def test_an_endpoint_rests_when_nothing_but_429_comes_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses a request now and then, and is quick, has often nothing else under way."""
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 60.0)
    pool = EndpointPool(["http://a"], 100)
    for _ in range(2):
        pool.fail((await acquire(pool, 1))[0], THROTTLED)
    pool.fail((await acquire(pool, 1))[0], THROTTLED)
    assert await is_full(pool)


def test_the_limit_reaches_the_configured_number_within_a_minute() -> None:
    endpoint = Endpoint("http://a", most=100, limit=10.0, limit_set_at=0.0)
    assert [round(endpoint.limit_at(second)) for second in (0, 6, 30, 54, 1000)] == [10, 20, 60, 100, 100]


@pytest.mark.parametrize(
    ("in_flight", "room_at"), [(0, 0.0), (9, 0.0), (10, 0.6), (30, 12.6), (99, 54.0), (100, float("inf"))]
)
def test_when_there_is_room_is_known(in_flight: int, room_at: float) -> None:
    endpoint = Endpoint("http://a", most=100, limit=10.0, limit_set_at=0.0)
    endpoint.in_flight = dict.fromkeys(range(in_flight), 0.0)
    assert endpoint.room_at(0.0) == pytest.approx(room_at)


async def test_an_unreachable_endpoint_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 60.0)
    pool = EndpointPool(["http://a", "http://b"], 10)
    pool.fail((await acquire(pool, 1))[0], UNREACHABLE)
    assert {lease.endpoint.url for lease in await acquire(pool, 5)} == {"http://b"}


async def test_an_endpoint_that_has_rested_gets_one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 0.05)
    pool = EndpointPool(["http://a", "http://b"], 10)
    pool.fail((await acquire(pool, 1))[0], UNREACHABLE)
    await asyncio.sleep(0.1)
    retried = [lease for lease in await acquire(pool, 3) if lease.endpoint.url == "http://a"]
    assert len(retried) == 1
    pool.answer(retried[0], None)
    assert (await acquire(pool, 1))[0].endpoint.url == "http://a"


async def test_an_endpoint_that_fails_five_times_in_a_row_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 2.0)
    pool = EndpointPool(["http://a"], 10)
    leases = await acquire(pool, 5)
    for lease in leases[:4]:
        pool.fail(lease, SERVER_ERROR)
    assert not pool.endpoints[0].broken
    pool.fail(leases[4], SERVER_ERROR)
    assert pool.endpoints[0].broken
    assert await is_full(pool)
    await asyncio.wait_for(pool.acquire(), 30)


async def test_failures_between_answers_do_not_add_up() -> None:
    pool = EndpointPool(["http://a"], 10)
    for _ in range(20):
        bad, good = await acquire(pool, 2)
        pool.fail(bad, SERVER_ERROR)
        pool.answer(good, None)
    assert not pool.endpoints[0].broken


async def test_all_is_well_as_long_as_one_endpoint_answers() -> None:
    pool = EndpointPool(["http://a", "http://b"], 10)
    first = await acquire(pool, 2)
    pool.fail(first[0], UNREACHABLE)
    pool.answer(first[1], None)
    await asyncio.sleep(0.02)
    assert pool.unavailable_seconds() == 0
    assert pool.describe_trouble() == "http://a refuses connections, for 0 s now"


async def test_an_outage_lasts_since_the_last_endpoint_failed() -> None:
    pool = EndpointPool(["http://a", "http://b"], 10)
    first = await acquire(pool, 2)
    pool.fail(first[0], UNREACHABLE)
    await asyncio.sleep(0.1)
    pool.fail(first[1], SERVER_ERROR)
    await asyncio.sleep(0.05)
    assert pool.unavailable_seconds() > 0.04
    retried = await acquire(pool, 1)
    pool.answer(retried[0], None)
    assert pool.unavailable_seconds() == 0


async def test_an_abandoned_request_makes_room() -> None:
    pool = EndpointPool(["http://a"], 1)
    pool.abandon((await acquire(pool, 1))[0])
    await acquire(pool, 1)


async def test_the_same_url_is_one_endpoint() -> None:
    assert len(EndpointPool(["http://a/v1", "http://a/v1/"], 1).endpoints) == 1


def test_waiting_doubles_up_to_a_minute() -> None:
    for failures, longest in [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (1000, 60.0)]:
        waits = [backoff(1.0, failures) for _ in range(100)]
        assert longest / 2 <= min(waits) <= max(waits) <= longest


async def test_a_rest_that_ends_between_two_looks_at_the_clock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 0.0005)
    pool = EndpointPool(["http://a"], 1)
    loop = asyncio.get_running_loop()
    looks = itertools.count()
    steady = loop.time
    monkeypatch.setattr(loop, "time", lambda: steady() + 0.001 * next(looks))
    for _ in range(5):
        (lease,) = await acquire(pool, 1)
        pool.fail(lease, UNREACHABLE)
