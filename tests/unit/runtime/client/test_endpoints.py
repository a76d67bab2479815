import asyncio
import itertools
from collections.abc import Sequence

import pytest

from distill_runtime.client import endpoint as endpoint_module
from distill_runtime.client import endpoints
from distill_runtime.client.endpoint import Endpoint, Lease
from distill_runtime.client.endpoints import EndpointPool, backoff
from distill_runtime.client.trouble import Kind, Trouble

THROTTLED = Trouble(Kind.THROTTLED, "answers 429: slow down")
UNREACHABLE = Trouble(Kind.UNREACHABLE, "refuses connections")
SERVER_ERROR = Trouble(Kind.SERVER_ERROR, "answers 503: loading")


def answering(urls: Sequence[str], max_concurrent_requests: int) -> EndpointPool:
    """Give a pool whose endpoints have all answered something trivial."""
    pool = EndpointPool(urls, max_concurrent_requests)
    for endpoint in pool.endpoints:
        pool.vouch(endpoint)
    return pool


async def acquire(pool: EndpointPool, number: int) -> list[Lease]:
    return [await asyncio.wait_for(pool.acquire(), 30) for _ in range(number)]


async def is_full(pool: EndpointPool) -> bool:
    try:
        await asyncio.wait_for(pool.acquire(), 0.05)
    except TimeoutError:
        return True
    return False


async def test_the_least_busy_endpoint_is_next() -> None:
    pool = answering(["http://a", "http://b"], 10)
    first = await acquire(pool, 4)
    assert [lease.endpoint.url for lease in first] == ["http://a", "http://b", "http://a", "http://b"]
    pool.answer(first[1], None)
    pool.answer(first[3], None)
    assert [lease.endpoint.url for lease in await acquire(pool, 2)] == ["http://b", "http://b"]


async def test_no_more_are_in_flight_than_allowed_over_all_endpoints() -> None:
    pool = answering(["http://a", "http://b"], 3)
    leases = await acquire(pool, 3)
    assert await is_full(pool)
    pool.answer(leases[0], None)
    await acquire(pool, 1)


async def test_whoever_waits_is_served_when_a_lease_comes_back() -> None:
    pool = answering(["http://a"], 1)
    (lease,) = await acquire(pool, 1)
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    for task in waiting:
        await asyncio.sleep(0)
        pool.answer(lease, None)
        lease = await asyncio.wait_for(task, 30)


async def test_429_lowers_the_limit_once_a_second_and_answers_raise_it() -> None:
    pool = answering(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:10]:
        pool.fail(lease, THROTTLED)
    endpoint = pool.endpoints[0]
    assert endpoint.limit == pytest.approx(70)
    for lease in leases[10:80]:
        pool.answer(lease, None)
    assert endpoint.limit == pytest.approx(71, abs=0.2)


async def test_few_429_among_answers_lower_the_limit_by_their_share() -> None:
    pool = answering(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:48]:  # and the trivial question
        pool.answer(lease, None)
    pool.fail(leases[48], THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(52 * 0.98)


async def test_429_that_come_together_lower_the_limit_by_a_third_though_answers_came_before() -> None:
    pool = answering(["http://a"], 100)
    leases = await acquire(pool, 100)
    for lease in leases[:50]:
        pool.answer(lease, None)
    for lease in leases[50:60]:
        pool.fail(lease, THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(50 * 0.7)


async def test_an_endpoint_gets_no_more_than_it_can_make_use_of() -> None:
    pool = answering(["http://a"], 1000)
    endpoint = pool.endpoints[0]
    await acquire(pool, endpoint.search.ceiling)
    assert endpoint.search.ceiling < 1000
    assert await is_full(pool)


async def test_whoever_waits_for_a_ceiling_that_rises_is_served() -> None:
    pool = answering(["http://a"], 1000)
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
    pool = answering(["http://a"], 1000)
    leases = await acquire(pool, 10)
    pool.fail(leases[0], THROTTLED)
    assert pool.endpoints[0].limit == pytest.approx(7)


async def test_the_limit_rises_with_time_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_SECONDS_TO_RECOVER", 5.0)
    pool = answering(["http://a"], 20)
    leases = await acquire(pool, 20)
    for lease in leases[:10]:
        pool.fail(lease, THROTTLED)
    # 20 x 0.7 = 14 are allowed, 10 are in flight: four find room at once, two more within half a second.
    begun = asyncio.get_running_loop().time()
    await acquire(pool, 6)
    assert 0.25 < asyncio.get_running_loop().time() - begun < 15


def test_the_limit_reaches_the_configured_number_within_a_minute() -> None:
    endpoint = Endpoint("http://a", most=100, limit=10.0, limit_set_at=0.0)
    assert [round(endpoint.limit_at(second)) for second in (0, 6, 30, 54, 1000)] == [10, 20, 60, 100, 100]


@pytest.mark.parametrize(
    ("in_flight", "room_at"), [(0, 0.0), (9, 0.0), (10, 0.6), (30, 12.6), (99, 54.0), (100, float("inf"))]
)
def test_when_there_is_room_is_known(in_flight: int, room_at: float) -> None:
    endpoint = Endpoint("http://a", most=100, limit=10.0, limit_set_at=0.0, trusted=True)
    endpoint.in_flight = {Lease(endpoint, 0.0, number): None for number in range(in_flight)}
    assert endpoint.room_at(0.0) == pytest.approx(room_at)


async def test_no_endpoint_gets_a_request_before_it_has_answered_something_trivial() -> None:
    pool = EndpointPool(["http://a", "http://b"], 10)
    assert await is_full(pool)
    pool.vouch(pool.endpoints[1])
    assert {lease.endpoint.url for lease in await acquire(pool, 10)} == {"http://b"}


async def test_whoever_waits_is_served_when_an_endpoint_answers() -> None:
    pool = EndpointPool(["http://a"], 10)
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await asyncio.sleep(0)
    pool.vouch(pool.endpoints[0])
    await asyncio.wait_for(asyncio.gather(*waiting), 30)


@pytest.mark.parametrize(("trouble", "failures"), [(UNREACHABLE, 1), (SERVER_ERROR, 5)])
async def test_an_endpoint_that_cannot_be_reached_or_fails_again_and_again_is_doubted(
    trouble: Trouble, failures: int
) -> None:
    pool = answering(["http://a"], 10)
    endpoint = pool.endpoints[0]
    leases = await acquire(pool, 10)
    for lease in leases[:failures]:
        assert endpoint.trusted
        pool.fail(lease, trouble)
    assert not endpoint.trusted
    assert endpoint.in_question.is_set()
    assert await is_full(pool)


@pytest.mark.parametrize("trouble", [THROTTLED, SERVER_ERROR])
async def test_an_endpoint_that_fails_with_nothing_else_under_way_is_doubted(trouble: Trouble) -> None:
    """Nobody would ask it again otherwise, while another is without trouble."""
    pool = answering(["http://a"], 10)
    first, second = await acquire(pool, 2)
    pool.fail(first, trouble)
    assert pool.endpoints[0].trusted
    pool.fail(second, trouble)
    assert not pool.endpoints[0].trusted


async def test_an_endpoint_rests_the_longer_the_longer_it_answers_no_request() -> None:
    pool = answering(["http://a"], 10)
    endpoint = pool.endpoints[0]
    rests = []
    for _ in range(8):
        (lease,) = await acquire(pool, 1)
        pool.fail(lease, UNREACHABLE)
        rests.append(endpoint.rest_seconds)
        pool.vouch(endpoint)
    assert 0.25 <= rests[0] <= 0.5
    assert rests[-1] == endpoints._LONGEST_REST_SECONDS
    (lease,) = await acquire(pool, 1)
    pool.answer(lease, None)
    (lease,) = await acquire(pool, 1)
    pool.fail(lease, UNREACHABLE)
    assert endpoint.rest_seconds <= 0.5


async def test_the_rest_is_what_a_429_asks_for() -> None:
    pool = answering(["http://a"], 10)
    pool.fail((await acquire(pool, 1))[0], Trouble(Kind.THROTTLED, "answers 429", retry_after=20.0))
    assert pool.endpoints[0].rest_seconds == 20.0


async def test_while_none_answers_one_that_was_asked_in_vain_gets_one_request() -> None:
    pool = EndpointPool(["http://a", "http://b"], 10)
    failing, dead = pool.endpoints
    pool.doubt(failing, SERVER_ERROR)
    pool.doubt(dead, UNREACHABLE)
    assert await is_full(pool)
    pool.doubt(failing, SERVER_ERROR)
    pool.doubt(dead, UNREACHABLE)
    (lease,) = await acquire(pool, 1)
    assert lease.endpoint is failing
    assert await is_full(pool)
    pool.answer(lease, None)
    assert {lease.endpoint.url for lease in await acquire(pool, 9)} == {"http://a"}


async def test_an_endpoint_without_trouble_comes_first_however_few_the_others_have() -> None:
    pool = answering(["http://a", "http://b"], 10)
    leases = await acquire(pool, 4)
    pool.fail(leases[0], SERVER_ERROR)
    assert {lease.endpoint.url for lease in await acquire(pool, 5)} == {"http://b"}
    pool.answer(leases[2], None)
    assert (await acquire(pool, 1))[0].endpoint.url == "http://a"


async def test_a_request_does_not_go_back_to_who_failed_it_while_another_has_room() -> None:
    pool = answering(["http://a", "http://b"], 10)
    first, second = pool.endpoints
    lease = await pool.acquire_elsewhere([first], 0.0)
    assert lease is not None
    assert lease.endpoint is second
    assert (await pool.acquire([first])).endpoint is second
    pool.fail(lease, UNREACHABLE)
    assert await pool.acquire_elsewhere([first], 0.0) is None
    assert (await pool.acquire([first])).endpoint is first


async def test_another_is_waited_for_as_long_as_one_answers() -> None:
    pool = answering(["http://a", "http://b"], 2)
    first, second = pool.endpoints
    leases = await acquire(pool, 2)
    waiting = asyncio.create_task(pool.acquire_another({first}))
    await asyncio.sleep(0)
    pool.answer(leases[1], None)
    lease = await asyncio.wait_for(waiting, 30)
    assert lease is not None
    assert lease.endpoint is second
    assert await pool.acquire_another({first, second}) is None


async def test_the_requests_of_an_endpoint_that_hangs_are_called_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_SHORTEST_SILENCE_SECONDS", 0.0)
    pool = answering(["http://a", "http://b"], 10)
    hanging, other = pool.endpoints
    pool.fail(await pool.acquire([hanging]), SERVER_ERROR)
    lease = await pool.acquire([other])

    async def send() -> None:
        async with lease.recall:
            await asyncio.sleep(30)

    sent = asyncio.create_task(send())
    await asyncio.sleep(0.001)
    pool.question_silent()
    assert not hanging.in_question.is_set()  # the other does not answer either
    pool.vouch(other)
    pool.question_silent()
    assert hanging.in_question.is_set()
    pool.doubt(hanging, Trouble(Kind.TIMEOUT, "does not answer a trivial question"))
    with pytest.raises(TimeoutError):
        await sent


async def test_a_silent_endpoint_is_not_questioned_before_answers_may_be_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_SHORTEST_SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(endpoints, "_SILENCE_FACTOR", 1e6)
    pool = answering(["http://a", "http://b"], 10)
    slow, quick = await acquire(pool, 2)
    await asyncio.sleep(0.002)
    pool.answer(quick, 1)
    pool.question_silent()
    assert not slow.endpoint.in_question.is_set()


async def test_failures_between_answers_do_not_add_up() -> None:
    pool = answering(["http://a"], 10)
    for _ in range(20):
        bad, good = await acquire(pool, 2)
        pool.fail(bad, SERVER_ERROR)
        pool.answer(good, None)
    assert pool.endpoints[0].trusted


async def test_all_is_well_as_long_as_one_endpoint_answers() -> None:
    pool = answering(["http://a", "http://b"], 10)
    first = await acquire(pool, 2)
    pool.fail(first[0], UNREACHABLE)
    pool.answer(first[1], None)
    await asyncio.sleep(0.02)
    assert pool.unavailable_seconds() == 0
    assert pool.describe_trouble() == "http://a refuses connections, for 0 s now"


async def test_an_outage_lasts_since_the_last_endpoint_failed() -> None:
    pool = answering(["http://a", "http://b"], 10)
    first = await acquire(pool, 2)
    pool.fail(first[0], UNREACHABLE)
    await asyncio.sleep(0.1)
    pool.fail(first[1], SERVER_ERROR)
    await asyncio.sleep(0.05)
    assert pool.unavailable_seconds() > 0.04
    assert pool.describe_outage().startswith("http://a refuses connections, for 0 s now; http://b answers 503")
    pool.vouch(pool.endpoints[0])
    assert pool.unavailable_seconds() == 0


async def test_an_outage_has_a_cause_though_nothing_has_failed_yet() -> None:
    pool = EndpointPool(["http://a"], 10)
    await asyncio.sleep(0.02)
    assert pool.unavailable_seconds() > 0.01
    assert pool.describe_trouble() == ""
    assert pool.describe_outage() == "http://a has not answered yet, for 0 s now"


async def test_an_abandoned_request_makes_room() -> None:
    pool = answering(["http://a"], 1)
    pool.abandon((await acquire(pool, 1))[0])
    await acquire(pool, 1)


async def test_the_same_url_is_one_endpoint() -> None:
    assert len(EndpointPool(["http://a/v1", "http://a/v1/"], 1).endpoints) == 1


def test_waiting_doubles_up_to_a_minute() -> None:
    for failures, longest in [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (1000, 60.0)]:
        waits = [backoff(1.0, failures) for _ in range(100)]
        assert longest / 2 <= min(waits) <= max(waits) <= longest


async def test_room_that_comes_between_two_looks_at_the_clock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_SECONDS_TO_RECOVER", 0.001)
    pool = answering(["http://a"], 2)
    loop = asyncio.get_running_loop()
    looks = itertools.count()
    steady = loop.time
    monkeypatch.setattr(loop, "time", lambda: steady() + 0.001 * next(looks))
    for _ in range(5):
        first, second = await acquire(pool, 2)
        pool.fail(first, THROTTLED)
        pool.answer(second, None)
