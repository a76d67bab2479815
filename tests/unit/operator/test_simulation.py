"""Whatever happens in whatever order: no work is done twice, none is lost, and there is an end to it.

Jobs and Pods end in any order and way, watches lag, suspend is toggled, Jobs are deleted by hand, the API server
refuses, and the operator is killed between any two of its writes.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.operator.builders import body, key, ready
from unit.operator.simulation import (
    COPIED,
    STREAMS,
    UNITS,
    Killed,
    Moment,
    SimulatedCluster,
    SimulatedOperator,
    SimulatedPod,
    Strike,
)

from distill_operator.errors import ClusterError
from distill_runtime.contract import EXIT_RETRY, EXIT_WRONG_INPUT

Make = Callable[[], SimulatedCluster]

MOST_STATE_WRITES = 6
ENOUGH_STEPS = 2000


def dataset() -> SimulatedCluster:
    teacher = {"endpoints": ["http://teacher/v1"], "model": "deepseek-r1", "shards": 2}
    return SimulatedCluster(key("DistillDataset"), body("DistillDataset", {"teacher": teacher}))


def finetune() -> SimulatedCluster:
    accelerator = {"profile": "ascend-910b", "nodes": 2, "devicesPerNode": 8}
    spec = {"accelerator": accelerator, "restarts": {"max": 2}}
    return SimulatedCluster(key("FinetuneRun"), body("FinetuneRun", spec), ready("DistillDataset"))


def evaluation() -> SimulatedCluster:
    return SimulatedCluster(key("EvalRun"), body("EvalRun"), ready("FinetuneRun"))


KINDS: dict[str, Make] = {"DistillDataset": dataset, "FinetuneRun": finetune, "EvalRun": evaluation}


def condition(cluster: SimulatedCluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in cluster.body["status"]["conditions"] if item["type"] == name)
    return found


def is_ready(cluster: SimulatedCluster) -> bool:
    return condition(cluster, "Ready")["status"] == "True"


def is_stalled(cluster: SimulatedCluster) -> bool:
    return condition(cluster, "Stalled")["status"] == "True"


def catch_up(operator: SimulatedOperator) -> None:
    for stream in STREAMS:
        while operator.cluster.streams[stream] and not operator.cluster.is_held_back(stream):
            operator.deliver(stream)


def go_on(operator: SimulatedOperator, seconds: float = 1.0) -> None:
    """Everything that is under way goes one step on, and goes well."""
    cluster = operator.cluster
    catch_up(operator)
    operator.step()
    cluster_goes_on(cluster)
    cluster.pass_time(seconds)


def cluster_goes_on(cluster: SimulatedCluster) -> None:
    for job in list(cluster.jobs_by_name.values()):
        cluster.run_job_controller(job)
    for pod in list(cluster.pods_by_name.values()):
        move_on(cluster, pod)


def settle(operator: SimulatedOperator, seconds_a_step: float = 1.0) -> None:
    """Let everything go on until nothing moves any more."""
    for _ in range(ENOUGH_STEPS):
        before = snapshot(operator.cluster)
        go_on(operator, seconds_a_step)
        under_way = any(operator.cluster.streams.values()) or operator.awake or operator.wake_at is not None
        if snapshot(operator.cluster) == before and not under_way:
            return
    raise AssertionError(f"there is no end to it: {operator.cluster.body['status']}")


def move_on(cluster: SimulatedCluster, pod: SimulatedPod) -> None:
    if pod.deleting:
        cluster.remove_pod(pod)
    elif pod.phase == "Pending":
        cluster.start_pod(pod)
    elif pod.phase == "Running" and pod.done < UNITS:
        pod.done += 50
    elif pod.phase == "Running":
        cluster.end_pod(pod, 0)


def running_training_pod(operator: SimulatedOperator, attempt: int) -> SimulatedPod:
    """Let everything go on until a Pod of this attempt runs."""
    for _ in range(ENOUGH_STEPS):
        for pod in operator.cluster.pods_by_name.values():
            if pod.phase == "Running" and not pod.deleting and pod.job.name == f"student-train-a{attempt}":
                return pod
        go_on(operator)
    raise AssertionError(f"attempt {attempt} does not start: {operator.cluster.body['status']}")


def snapshot(cluster: SimulatedCluster) -> Any:
    jobs = {name: (job.condition, job.deleting, job.failing) for name, job in cluster.jobs_by_name.items()}
    pods = {name: (pod.phase, pod.deleting, pod.done) for name, pod in cluster.pods_by_name.items()}
    return cluster.body["metadata"]["resourceVersion"], jobs, pods, [len(cluster.streams[name]) for name in STREAMS]


def assert_fixed_point(operator: SimulatedOperator) -> None:
    """Looking again, with and without memory, writes nothing."""
    before = snapshot(operator.cluster)
    for look in (operator.start, lambda: None):
        look()
        operator.awake = True
        operator.step()
        assert snapshot(operator.cluster) == before
        assert operator.wake_at is None


def assert_nothing_in_the_cluster_changes_it(operator: SimulatedOperator) -> None:
    """An object that has come to its end stays as it is, whatever becomes of its Jobs and whoever looks like them."""
    cluster = operator.cluster
    before = cluster.body
    for pod in list(cluster.pods_by_name.values()):
        cluster.copy_pod(pod)
    for job in list(cluster.jobs_by_name.values()):
        cluster.remove_ended_job(job)
    settle(operator)
    assert cluster.body == before
    assert cluster.jobs_by_name == {}


class Cluster(RuleBasedStateMachine):
    """One object's life with everything that can come in its way."""

    make: ClassVar[Make]
    failures_are_final: ClassVar[bool] = False

    @initialize()
    def create(self) -> None:
        self.cluster = type(self).make()
        self.operator = SimulatedOperator(self.cluster)

    @rule(rounds=st.integers(1, 8))
    def go_on(self, rounds: int) -> None:
        if self.cluster.suspended:
            self.cluster.toggle_suspend(False)
        for _ in range(rounds):
            go_on(self.operator)

    @rule(data=st.data())
    @precondition(lambda self: any(self.cluster.streams.values()))
    def deliver(self, data: st.DataObject) -> None:
        self.operator.deliver(data.draw(st.sampled_from([name for name in STREAMS if self.cluster.streams[name]])))

    @rule()
    @precondition(lambda self: self.operator.awake)
    def step(self) -> None:
        self.operator.step()

    @rule(writes=st.integers(0, 4), moment=st.sampled_from(Moment))
    @precondition(lambda self: self.operator.awake)
    def step_and_be_killed(self, writes: int, moment: Moment) -> None:
        self.cluster.strike = Strike(writes, moment, Killed)
        self.operator.step()
        self.cluster.strike = None

    @rule(writes=st.integers(0, 3), moment=st.sampled_from([Moment.BEFORE, Moment.UNANSWERED]))
    @precondition(lambda self: self.operator.awake)
    def step_and_be_refused(self, writes: int, moment: Moment) -> None:
        self.cluster.strike = Strike(writes, moment, ClusterError)
        self.operator.step()
        self.cluster.strike = None

    @rule()
    def restart(self) -> None:
        self.operator.start()

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.jobs_by_name)
    def run_job_controller(self, data: st.DataObject) -> None:
        self.cluster.run_job_controller(self._job(data))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.pods_by_name)
    def move_a_pod_on(self, data: st.DataObject) -> None:
        move_on(self.cluster, self._pod(data))

    @rule(data=st.data(), exit_code=st.sampled_from([EXIT_RETRY, 137, EXIT_WRONG_INPUT]))
    @precondition(lambda self: self._unfinished_pods())
    def fail_a_pod(self, data: st.DataObject, exit_code: int) -> None:
        if exit_code != EXIT_WRONG_INPUT or self.failures_are_final:
            self.cluster.end_pod(data.draw(st.sampled_from(self._unfinished_pods())), exit_code)

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.pods_by_name)
    def evict_a_pod(self, data: st.DataObject) -> None:
        self.cluster.evict_pod(self._pod(data))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.jobs_by_name and not self.cluster.streams["pods"])
    def delete_a_job_by_hand(self, data: st.DataObject) -> None:
        """Nobody is so fast as to do it before the operator has seen the Pods."""
        self.cluster.delete_job_by_hand(self._job(data))

    @rule(data=st.data())
    @precondition(lambda self: any(job.condition for job in self.cluster.jobs_by_name.values()))
    def remove_an_ended_job(self, data: st.DataObject) -> None:
        ended = [job for job in self.cluster.jobs_by_name.values() if job.condition]
        self.cluster.remove_ended_job(data.draw(st.sampled_from(ended)))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.pods_by_name)
    def copy_a_pod(self, data: st.DataObject) -> None:
        self.cluster.copy_pod(self._pod(data))

    @rule()
    def raise_retry(self) -> None:
        self.cluster.raise_retry()

    @rule()
    def toggle_suspend(self) -> None:
        self.cluster.toggle_suspend(not self.cluster.suspended)

    @rule()
    @precondition(lambda self: "input" in self.cluster.body.get("status", {}))
    def delete_the_dependency(self) -> None:
        self.cluster.depend_on(None)

    @rule(seconds=st.sampled_from([0.3, 3, 12, 40]))
    def pass_time(self, seconds: float) -> None:
        """Watches lag by moments, not by longer."""
        if seconds > 1:
            catch_up(self.operator)
        self.cluster.pass_time(seconds)

    @invariant()
    def a_stage_has_one_unfinished_job(self) -> None:
        unfinished = [job.stage for job in self.cluster.jobs_by_name.values() if not job.condition]
        assert len(unfinished) == len(set(unfinished)), unfinished

    @invariant()
    def an_index_has_one_unfinished_pod(self) -> None:
        pods = [pod for pod in self.cluster.pods_by_name.values() if not pod.finished and not pod.copied]
        unfinished = [(pod.job.stage, pod.index) for pod in pods]
        assert len(unfinished) == len(set(unfinished)), unfinished

    @invariant()
    def nothing_is_taken_from_a_copy(self) -> None:
        assert COPIED not in str(self.cluster.body["status"])

    def teardown(self) -> None:
        self.cluster.toggle_suspend(False)
        settle(self.operator)
        while is_stalled(self.cluster) and not self.failures_are_final:  # what its message says to do
            said = condition(self.cluster, "Ready")["message"]
            assert f'-p \'{{"spec":{{"retry":{self.cluster.raise_retry()}}}}}\'' in said
            settle(self.operator)
        assert is_ready(self.cluster) or (self.failures_are_final and is_stalled(self.cluster))
        assert_fixed_point(self.operator)
        assert_nothing_in_the_cluster_changes_it(self.operator)

    def _job(self, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(list(self.cluster.jobs_by_name.values())))

    def _unfinished_pods(self) -> list[SimulatedPod]:
        return [pod for pod in self.cluster.pods_by_name.values() if not pod.finished]

    def _pod(self, data: st.DataObject) -> SimulatedPod:
        return data.draw(st.sampled_from(list(self.cluster.pods_by_name.values())))


PROFILE = settings(max_examples=100, stateful_step_count=50)


@PROFILE
class DatasetCluster(Cluster):
    make = staticmethod(dataset)


@PROFILE
class FinetuneCluster(Cluster):
    make = staticmethod(finetune)


@PROFILE
class WrongInputCluster(Cluster):
    make = staticmethod(finetune)
    failures_are_final = True


TestDataset = DatasetCluster.TestCase
TestFinetune = FinetuneCluster.TestCase
TestWrongInput = WrongInputCluster.TestCase


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_undisturbed_life_ends_ready_and_then_costs_nothing(make: Make) -> None:
    operator = SimulatedOperator(make())
    settle(operator)
    assert is_ready(operator.cluster)
    assert_fixed_point(operator)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_undisturbed_life_costs_few_status_writes(make: Make) -> None:
    """In a life shorter than a progress interval, all writes are changes of state."""
    operator = SimulatedOperator(make())
    settle(operator, seconds_a_step=0.01)
    assert is_ready(operator.cluster)
    assert operator.cluster.status_writes <= MOST_STATE_WRITES


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_it_has_written_is_known_before_the_watch_brings_it(make: Make) -> None:
    operator = SimulatedOperator(make())
    for _ in range(3):
        operator.awake = True
        operator.step()
    assert operator.cluster.status_writes == 1


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_progress_costs_at_most_one_status_write_an_interval(make: Make) -> None:
    operator = SimulatedOperator(make())
    cluster = operator.cluster
    settle(operator, seconds_a_step=10)
    intervals = (cluster.now - cluster.jobs_by_name[next(iter(cluster.jobs_by_name))].created_at).total_seconds() / 15
    assert cluster.status_writes <= MOST_STATE_WRITES + intervals


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_undisturbed_life_warns_of_nothing(make: Make) -> None:
    operator = SimulatedOperator(make())
    settle(operator, seconds_a_step=10)
    assert [notice for notice in operator.cluster.notices if notice.type == "Warning"] == []


@pytest.mark.parametrize("steps_away", [0, 1, 12], ids=["there", "killed", "away-until-the-pods-are-gone"])
def test_drains_use_up_no_restarts(steps_away: int) -> None:
    """More of them than restarts.max. Drained itself, the operator finds only what the failed Jobs say."""
    operator = SimulatedOperator(finetune())
    cluster, drains = operator.cluster, 5
    for attempt in range(1, drains + 1):
        cluster.evict_pod(running_training_pod(operator, attempt))
        for _ in range(steps_away):
            cluster_goes_on(cluster)
        for pod in list(cluster.pods_by_name.values()) if steps_away > 1 else []:
            cluster.remove_pod(pod)
        if steps_away:
            operator.start()
    settle(operator)
    assert is_ready(cluster)
    assert (cluster.body["status"]["restarts"], cluster.body["status"]["disruptions"]) == (0, drains)
    assert {notice.type for notice in cluster.notices} == {"Normal"}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_object_that_is_created_suspended_starts_nothing(make: Make) -> None:
    cluster = make()
    cluster.toggle_suspend(True)
    operator = SimulatedOperator(cluster)
    settle(operator)
    assert cluster.jobs_by_name == {}
    assert condition(cluster, "Ready")["reason"] == "Suspended"
    assert_fixed_point(operator)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("seconds", [20, 240])
def test_a_job_controller_that_is_late_costs_one_status_write_and_no_warning(make: Make, seconds: int) -> None:
    operator = SimulatedOperator(make())
    for _ in range(seconds):
        catch_up(operator)
        operator.step()
        operator.cluster.pass_time(1)
    assert operator.cluster.status_writes == 1
    assert {notice.type for notice in operator.cluster.notices} == {"Normal"}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_copy_that_still_runs_is_waited_for_before_something_is_started(make: Make) -> None:
    operator = SimulatedOperator(make())
    cluster = operator.cluster
    while not cluster.pods_by_name:
        go_on(operator)
    cluster.copy_pod(next(iter(cluster.pods_by_name.values())))
    cluster.delete_job_by_hand(next(iter(cluster.jobs_by_name.values())))
    for pod in list(cluster.pods_by_name.values()):
        if not pod.copied:
            cluster.remove_pod(pod)
    catch_up(operator)
    operator.step()
    assert (cluster.jobs_by_name, condition(cluster, "Ready")["reason"]) == ({}, "StrayInTheWay")
    settle(operator)
    assert is_ready(cluster)
