"""Every write of a life, struck at every moment: what comes of it is what comes of an undisturbed life.

The rules of `test_simulation` find by chance; here each write is struck once in each way, and each watch is held back
from each moment on. What has to be equal: the object, but for times; the Jobs that there ever were, with their
manifests; the Pods that were ever started. (After Sieve, Sun et al., OSDI 2022: the defects that they found in
operators lay between two writes and in acting on an old view.)
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from unit.operator.simulation import STREAMS, Delay, Killed, Moment, SimulatedCluster, SimulatedOperator, Stream, Strike
from unit.operator.test_simulation import (
    KINDS,
    Make,
    finetune,
    is_ready,
    is_stalled,
    running_training_pod,
    settle,
)

from distill_operator.errors import BusyError, ConflictError
from distill_runtime.contract import EXIT_RETRY, EXIT_WRONG_INPUT

Live = Callable[[SimulatedOperator], None]

TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
HEARD = {"done", "total", "unit", "doneBefore", "nodes"}
"""Of a stage: what is known of a Pod only by whoever looked while it was there."""


def undisturbed(operator: SimulatedOperator) -> None:
    settle(operator)
    assert is_ready(operator.cluster)


def an_attempt_fails(operator: SimulatedOperator) -> None:
    cluster = operator.cluster
    cluster.end_pod(running_training_pod(operator, 1), EXIT_RETRY)
    undisturbed(operator)


def drained(operator: SimulatedOperator) -> None:
    operator.cluster.evict_pod(running_training_pod(operator, 1))
    undisturbed(operator)


def suspended_and_resumed(operator: SimulatedOperator) -> None:
    cluster = operator.cluster
    running_training_pod(operator, 1)
    cluster.toggle_suspend(True)
    settle(operator)
    assert cluster.pods_by_name == {} or not any(pod.phase == "Running" for pod in cluster.pods_by_name.values())
    cluster.toggle_suspend(False)
    undisturbed(operator)


def wrong_and_mended(operator: SimulatedOperator) -> None:
    cluster = operator.cluster
    cluster.end_pod(running_training_pod(operator, 1), EXIT_WRONG_INPUT)
    settle(operator)
    assert is_stalled(cluster)
    cluster.raise_retry()
    undisturbed(operator)


@dataclass(frozen=True)
class Scenario:
    """An object, and what it lives through."""

    make: Make
    live: Live


SCENARIOS = {
    **{f"{kind}-undisturbed": Scenario(make, undisturbed) for kind, make in KINDS.items()},
    **{
        f"FinetuneRun-{live.__name__.replace('_', '-')}": Scenario(finetune, live)
        for live in (an_attempt_fails, drained, suspended_and_resumed, wrong_and_mended)
    },
}


EDITED = (suspended_and_resumed, wrong_and_mended)
"""In these a person's edit comes late with the watch, and finds another cluster."""


def outcome(cluster: SimulatedCluster) -> Any:
    """What must not depend on what happened to the operator."""
    return {"status": _masked(cluster.body["status"]), "jobs": cluster.manifests, "started": cluster.started}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(each) for name, each in value.items() if name not in HEARD}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return TIMES.sub("TIME", value) if isinstance(value, str) else value


@cache
def undisturbed_life(name: str) -> SimulatedCluster:
    return lived(SCENARIOS[name])


def lived(scenario: Scenario, strike: Strike | None = None, delay: Delay | None = None) -> SimulatedCluster:
    cluster = scenario.make()
    cluster.strike, cluster.delay = strike, delay
    scenario.live(SimulatedOperator(cluster))
    return cluster


REFUSED = [(Moment.BEFORE, BusyError), (Moment.BEFORE, ConflictError), (Moment.UNANSWERED, BusyError)]


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("moment", Moment)
def test_a_kill_at_any_write_changes_nothing(name: str, moment: Moment) -> None:
    assert_nothing_is_changed_by(moment, Killed, name)


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.live is undisturbed])
@pytest.mark.parametrize(("moment", "error"), REFUSED)
def test_a_refusal_of_any_write_changes_nothing(name: str, moment: Moment, error: type[BaseException]) -> None:
    assert_nothing_is_changed_by(moment, error, name)


def assert_nothing_is_changed_by(moment: Moment, error: type[BaseException], name: str) -> None:
    scenario, expected = SCENARIOS[name], undisturbed_life(name)
    for after in range(expected.writes):
        strike = Strike(after, moment, error)
        struck = lived(scenario, strike)
        assert struck.strike is None, f"{strike} was never reached"
        assert outcome(struck) == outcome(expected), strike


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.live not in EDITED])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_watch_that_is_late_changes_nothing(name: str, stream: Stream) -> None:
    scenario, expected = SCENARIOS[name], undisturbed_life(name)
    for after in range(expected.delivered[stream]):
        assert outcome(lived(scenario, delay=Delay(stream, after))) == outcome(expected), after
