"""Runs of which only some Pods fit on a node: what they hold is given back, and nothing is lost by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from unit.operator.builders import (
    NOW,
    SETTINGS,
    UID,
    body,
    failed_pod,
    job,
    key,
    known,
    later,
    pod,
    resource,
    running_pod,
    stage_status,
)

from distill_operator.api import StageState, StageStatus
from distill_operator.observation import DeviceRequest, JobView, NodeDevices, Observation, PodView
from distill_operator.plan.attempts import step_stage
from distill_operator.plan.buckets import sort_children
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Stage
from distill_operator.plan.steps import Step

TRAIN = job("FinetuneRun", "train")
NO_NODE = pod(TRAIN, 1, unschedulable="0/3 nodes are available: 3 Insufficient huawei.com/Ascend910.")
PLACED = running_pod(TRAIN, 0, node="node-1", scheduled_at=NOW)
RUNS_FOR = timedelta(hours=1)
HOURS = 12


def planned(nodes: int) -> Stage:
    spec = {"accelerator": {"profile": "ascend-910b", "nodes": nodes, "devicesPerNode": 8}}
    stage = KIND_PLANS["FinetuneRun"].plan_stage(
        resource("FinetuneRun", spec), "train", {}, known("FinetuneRun"), SETTINGS
    )
    assert isinstance(stage, Stage)
    return stage


def look(
    now: datetime,
    recorded: StageStatus | None,
    jobs: Sequence[JobView],
    pods: Sequence[PodView],
    nodes: int = 2,
    uid: str = UID,
    confirmed: bool = True,
    free: tuple[NodeDevices, ...] | None = None,
) -> Step:
    seen = Observation(
        body("FinetuneRun", metadata={"uid": uid}), tuple(jobs), tuple(pods), confirmed=confirmed, nodes=free
    )
    return step_stage(planned(nodes), recorded, sort_children(key("FinetuneRun"), seen), 0, now)


def given_back(times: int = 1, until: datetime | None = None) -> StageStatus:
    status = stage_status("train", StageState.PENDING, job=TRAIN.name, started_at=NOW, message="Only 1 of 2")
    return status.model_copy(update={"given_back": times, "next_try_at": until})


class TestGivingBack:
    def test_is_written_down_before_anything_is_deleted(self) -> None:
        found = look(later(120), None, [TRAIN], [PLACED, NO_NODE])
        assert (found.reason, found.delete, found.status.state) == ("WaitingForNodes", (), StageState.PENDING)
        assert (found.status.given_back, found.status.attempt, found.look_again_after) == (1, 1, timedelta())
        assert found.message == (
            "Only 1 of 2 Pods have a node; Pod student-train-a1-1-x does not: 0/3 nodes are available: 3 Insufficient "
            "huawei.com/Ascend910. They give 8 huawei.com/Ascend910 back. It is tried again at 03:07:09 UTC."
        )
        then = look(later(121), found.status, [TRAIN], [PLACED, NO_NODE])
        assert (then.status, then.reason, then.delete) == (found.status, "WaitingForNodes", (TRAIN,))

    @pytest.mark.parametrize("recorded", [None, given_back(until=later(180))], ids=["first-look", "second-look"])
    def test_is_not_done_on_an_old_view(self, recorded: StageStatus | None) -> None:
        """Where the watch of the Pods is late, what is taken for waiting may have been training for long."""
        found = look(later(121), recorded, [TRAIN], [PLACED, NO_NODE], confirmed=False)
        assert (found.confirm, found.delete, found.status.given_back) == (True, (), 1 if recorded else 0)
        asked = DeviceRequest("huawei.com/Ascend910", ())  # once a try: it is a listing of all Pods
        assert found.ask_nodes == (None if recorded else asked)

    @pytest.mark.parametrize(
        ("free", "words"),
        [
            (None, "huawei.com/Ascend910 back. It is tried"),
            ((), "back. No node has any of these, or none of those that the profile selects. It"),
            (
                (NodeDevices("b", 8, 3, cordoned=True), NodeDevices("a", 8, 0)),
                "back. Beside these, free are: b 3 of 8 (cordoned), a 0 of 8. It",
            ),
            (tuple(NodeDevices(f"n{each}", 8, 0) for each in range(10)), "n7 0 of 8 and 2 more nodes. It"),
        ],
        ids=["no-right", "none", "some", "many"],
    )
    def test_says_where_devices_are_free(self, free: tuple[NodeDevices, ...] | None, words: str) -> None:
        assert words in look(later(120), None, [TRAIN], [PLACED, NO_NODE], free=free).message

    def test_is_no_longer_due_when_the_last_pod_is_placed_in_between(self) -> None:
        pods = [PLACED, running_pod(TRAIN, 1, scheduled_at=later(121))]
        found = look(later(122), given_back(until=later(180)), [TRAIN], pods)
        assert (found.delete, found.status.state) == ((), StageState.RUNNING)
        assert (found.status.given_back, found.status.next_try_at) == (0, None)

    @pytest.mark.parametrize(
        ("fields", "pods", "why"),
        [
            ({}, [PLACED, replace(NO_NODE, unschedulable="")], "has none, and no scheduler has said why"),
            ({}, [PLACED], "of the others there are none: `kubectl describe job student-train-a1`"),
        ],
        ids=["a-scheduler-that-says-nothing", "a-quota-of-pods"],
    )
    def test_says_what_is_missing(self, fields: Mapping[str, object], pods: list[PodView], why: str) -> None:
        assert why in look(later(120), None, [TRAIN], pods).message

    @pytest.mark.parametrize(
        ("of", "pods", "nodes"),
        [
            (TRAIN, [NO_NODE, pod(TRAIN, 0, unschedulable="0/3")], 2),
            (TRAIN, [PLACED, running_pod(TRAIN, 1, scheduled_at=NOW)], 2),
            (TRAIN, [NO_NODE], 1),
            (TRAIN, [PLACED, failed_pod(TRAIN, 1)], 2),
            (TRAIN, [replace(PLACED, deletion_timestamp=later(9999)), NO_NODE], 2),
            (replace(TRAIN, ended_pods=1), [PLACED], 2),
            (replace(TRAIN, suspended=True), [PLACED], 2),
        ],
        ids=["none-placed", "all-placed", "one-node", "one-has-failed", "being-ended", "one-is-gone", "suspended"],
    )
    def test_is_for_nobody_who_holds_nothing_in_vain(self, of: JobView, pods: list[PodView], nodes: int) -> None:
        found = look(later(9000), None, [of], pods, nodes)
        assert (found.delete, found.status.given_back) == ((), 0)

    def test_is_looked_for_in_time(self) -> None:
        found = look(later(20), None, [TRAIN], [PLACED, NO_NODE])
        assert (found.reason, found.look_again_after) == ("Unschedulable", timedelta(seconds=100))
        quota = look(later(20), None, [TRAIN], [PLACED])  # the other Pod is not there, so that nothing else tells of it
        assert (quota.reason, quota.look_again_after) == ("Training", timedelta(seconds=100))


class TestPause:
    def test_says_the_same_until_it_is_over(self) -> None:
        """While the Job is being deleted, when it is gone, and when its last Pod has yet to end."""
        recorded, ending = given_back(until=later(180)), replace(PLACED, deletion_timestamp=later(9999))
        for jobs, pods in (([replace(TRAIN, deleting=True)], [ending]), ([], [ending]), ([], [])):
            found = look(later(130), recorded, jobs, pods)
            assert (found.status, found.reason, found.message) == (recorded, "WaitingForNodes", "Only 1 of 2")
            assert (found.start, found.delete) == (None, ())

    def test_ends_with_the_same_attempt(self) -> None:
        found = look(later(180), given_back(until=later(180)), [], [])
        assert (found.start, found.status.failures) == (1, 0)

    def test_is_forgotten_where_another_try_is_under_way(self) -> None:
        """The operator may have been away for all of the pause: what it finds then is another try."""
        tried = look(later(300), given_back(until=later(180)), [TRAIN], [PLACED, NO_NODE])
        assert (tried.delete, tried.status.given_back) == ((), 2)

    def test_doubles_up_to_ten_minutes_and_a_quarter(self) -> None:
        waits = []
        for times in (0, 1, 2, 3, 4, 50):
            found = look(later(120), given_back(times), [TRAIN], [PLACED, NO_NODE])
            assert found.status.next_try_at is not None
            waits.append((found.status.next_try_at - later(120)) / timedelta(minutes=1))
        for wait, least in zip(waits, (1, 2, 4, 8, 10, 10), strict=True):
            assert least <= wait <= least * 1.25


@dataclass
class Run:
    """A run in a cluster of a few nodes."""

    name: str
    nodes: int
    status: StageStatus | None = None
    job: JobView | None = None
    placed: dict[int, datetime] = field(default_factory=dict)
    next_look: datetime = NOW
    tries: int = 0
    ended_at: datetime | None = None

    def pods(self) -> list[PodView]:
        if self.job is None:
            return []
        return [
            replace(running_pod(self.job, index), scheduled_at=self.placed[index])
            if index in self.placed
            else pod(self.job, index, unschedulable="0/4 nodes are available.")
            for index in range(self.nodes)
        ]

    @property
    def ends_at(self) -> datetime:
        return (
            max(self.placed.values()) + RUNS_FOR if len(self.placed) == self.nodes else datetime.max.replace(tzinfo=UTC)
        )

    def look(self, now: datetime) -> None:
        jobs = [self.job] if self.job is not None else []
        found = look(now, self.status, jobs, self.pods(), self.nodes, self.name)
        self.status = found.status
        if found.delete:
            self.job, self.placed = None, {}
        if found.start is not None:
            self.tries += 1
            uid = f"{self.name}-{self.tries}"
            self.job = job("FinetuneRun", "train", found.start, uid=uid, owner_uid=self.name, created_at=now)
        wait = found.look_again_after if found.look_again_after is not None else timedelta(minutes=1)
        self.next_look = now + max(wait, timedelta(seconds=1))


@pytest.mark.parametrize(("there", "wanted"), [(3, [2, 2]), (4, [3, 3]), (4, [3, 2, 4]), (3, [3, 3, 2, 2])], ids=str)
def test_runs_that_are_in_each_other_s_way_all_come_to_their_end(there: int, wanted: list[int]) -> None:
    """Pods are placed one by one, in turns, which is how each of two runs comes to hold a part."""
    runs = [Run(f"run-{number}", nodes) for number, nodes in enumerate(wanted)]
    now = NOW
    while going_on := [run for run in runs if run.ended_at is None]:
        assert now < NOW + timedelta(hours=HOURS), "somebody waits for ever"
        for run in going_on:
            if run.next_look <= now:
                run.look(now)
        for index in range(max(wanted)):
            for run in going_on:
                free = there - sum(len(each.placed) for each in runs)
                if run.job is not None and index < run.nodes and index not in run.placed and free:
                    run.placed[index] = run.next_look = now
        for run in going_on:
            if run.ends_at <= now:
                run.ended_at, run.job, run.placed = now, None, {}
        now = max(now + timedelta(seconds=1), min(min(run.next_look, run.ends_at) for run in going_on))
    assert {run.status.attempt for run in runs if run.status is not None} == {1}
