import asyncio

import pytest
from support.ports import unused_port
from support.scripted_teacher import MODEL, teacher

from distill_runtime.client.ask import ClientSettings
from distill_runtime.client.served_model import fingerprint_endpoint, fingerprint_endpoints
from distill_runtime.foundation.errors import Retryable


def settings(*endpoints: str) -> ClientSettings:
    return ClientSettings(
        endpoints=endpoints,
        model=MODEL,
        api_key=None,
        max_concurrent_requests=1,
        request_timeout_seconds=5,
        max_attempts=1,
        unavailable_timeout_seconds=0,
    )


@pytest.mark.parametrize("listed", [None, [], ["another"], [MODEL]], ids=["no-list", "empty", "not-in-it", "no-root"])
def test_of_a_model_that_no_root_is_given_for_the_name_counts(listed: list[str] | None) -> None:
    with teacher() as server:
        server.listed = listed
        told = asyncio.run(fingerprint_endpoint(settings(server.url)))
    assert (told.uri, told.value) == (server.url, f"{MODEL}, of which the endpoint tells no more")


def test_the_root_counts_where_it_is_given() -> None:
    with teacher() as server:
        server.roots[MODEL] = "/models/r1"
        assert asyncio.run(fingerprint_endpoint(settings(server.url))).value == f"{MODEL}, loaded from /models/r1"


def test_of_an_endpoint_that_is_away_the_model_is_not_known() -> None:
    away = f"http://127.0.0.1:{unused_port()}/v1"
    with pytest.raises(Retryable, match="refuses connections, so that its model is not known") as error:
        asyncio.run(fingerprint_endpoint(settings(away)))
    assert error.value.reason == "EndpointUnreachable"
    with teacher() as server:
        found = asyncio.run(fingerprint_endpoints(settings(away, server.url)))
    assert [each.uri for each in found] == [server.url]
