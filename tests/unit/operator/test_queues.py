"""Queues: what each adds to a Job, what is said of a Job that waits in one, and where it is not there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from unit.operator.builders import NOW, SETTINGS, UID, job, key, known, later, observation, resource

from distill_operator.api.queues import Queue
from distill_operator.observation import JobView, WorkloadView, view_job, view_workload
from distill_operator.plan.decision import decide
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.manifests import CONTRACT_ANNOTATION, attempt_manifests
from distill_operator.plan.obstacles import HINDRANCES
from distill_operator.plan.queues import held_back
from distill_operator.plan.stages import Stage
from distill_operator.settings import Queues, Settings

Manifest = dict[str, Any]

ON_TWO_NODES = {"accelerator": {"profile": "ascend-910b", "nodes": 2, "devicesPerNode": 8}}
IN_SHARDS = {"teacher": {"endpoints": ["http://teacher/v1"], "model": "deepseek-r1", "shards": 3}}
STAGES = {"train": ("FinetuneRun", ON_TWO_NODES), "generate": ("DistillDataset", IN_SHARDS)}
IN_QUEUES: dict[str, Manifest] = {
    "kueue": {"kueue": "team-a", "workloadPriorityClass": "high"},
    "volcano": {"volcano": {"queue": "team-a"}},
    "native": {"native": {}},
}
WAITING = replace(
    job("FinetuneRun", "train"),
    suspended=True,
    started_at=None,
    local_queue="team-a",
    asked_queue="kueue/team-a",
    uid="11111111-job",
)


def children(stage: str, queue: Manifest | None = None, settings: Settings = SETTINGS) -> list[Manifest]:
    kind, spec = STAGES[stage]
    blocks = {**spec, **({"queue": queue} if queue is not None else {})}
    planned = KIND_PLANS[kind].plan_stage(resource(kind, blocks), stage, {}, known(kind), settings)
    assert isinstance(planned, Stage)
    return attempt_manifests(key(kind), UID, planned, 1, (), settings)


def added(before: Manifest, after: Manifest) -> Manifest:
    """Give what `after` has that `before` has not; nothing may be there that is not there any more."""
    assert before.keys() <= after.keys()
    found: Manifest = {}
    for name, value in after.items():
        if name not in before:
            found[name] = value
        elif isinstance(value, dict):
            found |= {name: inner} if (inner := added(before[name], value)) else {}
        else:
            assert value == before[name]
    return found


def test_what_each_queue_adds_to_a_job(equals_golden: Callable[[str, list[Manifest]], None]) -> None:
    found = []
    for stage in STAGES:
        *_, plain = children(stage)
        for system, queue in IN_QUEUES.items():
            before, queued = children(stage, queue)[:-1], children(stage, queue)[-1]
            groups = [child for child in before if child["kind"] != "Service"]
            found.append({"queue": system, "stage": stage, "before": groups, "job": added(plain, queued)})
    equals_golden("queues", found)


def test_a_default_is_for_objects_that_name_no_queue() -> None:
    settings = SETTINGS.model_copy(update={"queues": Queues(default=Queue(kueue="everybody"))})
    assert children("generate", settings=settings) == children("generate", {"kueue": "everybody"})
    assert children("generate", {"kueue": "team-a"}, settings) == children("generate", {"kueue": "team-a"})


def test_a_queue_takes_no_part_in_what_is_made() -> None:
    """So that an object may change its queue and goes on where it was."""
    contracts = {
        children("train", queue)[-1]["spec"]["template"]["metadata"]["annotations"][CONTRACT_ANNOTATION]
        for queue in (None, *IN_QUEUES.values())
    }
    assert len(contracts) == 1


@pytest.mark.parametrize("system", IN_QUEUES)
def test_a_job_is_known_by_its_queue(system: str) -> None:
    """Whoever has put it there: a profile's jobLabels and Kueue's own default do as well."""
    manifest = children("train", IN_QUEUES[system])[-1]
    found = view_job({**manifest, "metadata": {**manifest["metadata"], "uid": "1"}})
    assert (found.local_queue, found.placed_together, found.suspended) == {
        "kueue": ("team-a", False, True),
        "volcano": ("", True, False),
        "native": ("", True, False),
    }[system]


def workload(active: bool = True, **conditions: tuple[str, str, str]) -> WorkloadView:
    """One as Kueue has it, by the type of each condition: status, reason, message."""
    listed = [
        {"type": name, "status": status, "reason": reason, "message": message}
        for name, (status, reason, message) in conditions.items()
    ]
    return view_workload({"metadata": {"name": "job-x"}, "spec": {"active": active}, "status": {"conditions": listed}})


INSUFFICIENT = "insufficient unused quota for huawei.com/Ascend910 in flavor ascend, 2 more needed"
USED = "others use the quota that it needs"
PREEMPTED = "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue"


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (None, "Queued", "'team-a'; Kueue has not said anything of it yet."),
        (workload(), "Queued", "waits in Kueue's queue 'team-a'."),
        (replace(workload(), position=2), "Queued", "waits in Kueue's queue 'team-a', number 3 in it."),
        (workload(QuotaReserved=("False", "Pending", INSUFFICIENT)), "Queued", f"'team-a' (Kueue: {INSUFFICIENT})."),
        (
            workload(QuotaReserved=("False", "WaitingForQuota", INSUFFICIENT)),
            "Queued",
            f"'team-a': {USED} (Kueue: {INSUFFICIENT}).",
        ),
        (
            workload(
                QuotaReserved=("True", "QuotaReserved", ""),
                Admitted=("False", "UnsatisfiedChecks", "two left"),
            ),
            "Queued",
            "'team-a' (Kueue: two left).",
        ),
        (
            workload(QuotaReserved=("False", "Inadmissible", "LocalQueue team-a doesn't exist")),
            "NotAdmissible",
            "in vain: the queue is not there, or not usable (Kueue: LocalQueue team-a doesn't exist).",
        ),
        (
            workload(QuotaReserved=("False", "ExceedsMaxQuota", "16 > maximum capacity (8)")),
            "NotAdmissible",
            "in vain: it asks for more than the queue can ever give (Kueue: 16 > maximum capacity (8)).",
        ),
        (
            workload(
                Evicted=("True", "Preempted", PREEMPTED), QuotaReserved=("False", "WaitingForQuota", INSUFFICIENT)
            ),
            "Preempted",
            f"goes on from where it was when there is quota again: {USED} (Kueue: {INSUFFICIENT}). {PREEMPTED}",
        ),
        (
            workload(Evicted=("True", "PodsReadyTimeout", "Exceeded"), QuotaReserved=("False", "Pending", "")),
            "Queued",
            "again, since its Pods did not become ready in time.",
        ),
        (
            workload(False, Evicted=("True", "Deactivated", "The workload is deactivated")),
            "WorkloadDeactivated",
            "Workload job-x is switched off (spec.active: false)",
        ),
        (WorkloadView(unreadable="There is no Kueue.", not_served=True), "QueueUnavailable", "There is no Kueue."),
        (WorkloadView(unreadable="It is forbidden."), "Queued", "It is forbidden."),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_a_job_in_kueue_says_what_it_waits_for(said: WorkloadView | None, reason: str, words: str) -> None:
    found = held_back(WAITING, said)
    assert found is not None
    assert (found.reason, words in found.message) == (reason, True), found.message
    assert (reason in HINDRANCES) == (reason in {"NotAdmissible", "QueueUnavailable", "WorkloadDeactivated"})


def test_a_job_that_runs_or_that_somebody_else_holds_is_not_kueue_s() -> None:
    assert held_back(replace(WAITING, suspended=False), None) is None
    held = held_back(replace(WAITING, local_queue=""), None)
    assert held is not None
    assert held.reason == "JobSuspended"


def looked_at(queue: Manifest | None, view: JobView, settings: Settings = SETTINGS) -> Any:
    spec = {**ON_TWO_NODES, "accelerator": {"profile": "cpu"}, **({"queue": queue} if queue is not None else {})}
    run = {**observation("FinetuneRun").resource}
    run["spec"] = {**run["spec"], **spec}
    seen = replace(
        observation("FinetuneRun", jobs=(view,), dependencies=known("FinetuneRun")),
        resource=run,
        workloads={view.uid: workload(QuotaReserved=("False", "WaitingForQuota", INSUFFICIENT))},
    )
    return decide(key("FinetuneRun"), seen, settings, later(60))


def test_a_queued_object_is_neither_failed_nor_done_and_looks_again() -> None:
    found = looked_at({"kueue": "team-a"}, WAITING)
    ready, reconciling = found.status.condition("Ready"), found.status.condition("Reconciling")
    assert (ready.reason, reconciling.status, found.delete, found.create) == ("Queued", "True", (), ())
    assert found.look_again_after.total_seconds() == 30


def test_an_object_that_changes_its_queue_leaves_the_old_one() -> None:
    for queue in ({"kueue": "team-b"}, {"kueue": "team-a", "workloadPriorityClass": "high"}, {"volcano": {}}):
        assert looked_at(queue, WAITING).delete == (WAITING,)
    policy = replace(WAITING, local_queue="everybody")
    assert looked_at({"kueue": "team-a"}, policy).delete == ()  # it would be put there again
    assert looked_at(None, WAITING).delete == ()  # the chart, or Kueue itself, may have put it there
    assert looked_at({"kueue": "team-b"}, replace(WAITING, suspended=False)).delete == ()


def test_a_group_is_not_asked_for_where_the_operator_may_not_make_one() -> None:
    queued = {**observation("FinetuneRun").resource}
    queued["spec"] = {**queued["spec"], "queue": {"native": {}}}
    seen = replace(observation("FinetuneRun", dependencies=known("FinetuneRun")), resource=queued)
    refused = decide(key("FinetuneRun"), seen, SETTINGS, NOW)
    condition = refused.status.condition("Ready")
    assert condition is not None
    assert (condition.reason, refused.create) == ("QueueUnavailable", ())
    allowed = SETTINGS.model_copy(update={"queues": Queues(native=True)})
    assert decide(key("FinetuneRun"), seen, allowed, NOW).create


@pytest.mark.parametrize("default", [{}, {"kueue": "a", "native": {}}])
def test_a_default_is_one_system(default: Manifest) -> None:
    with pytest.raises(ValueError, match="set exactly one of kueue, volcano, native"):
        Queues.model_validate({"default": default})
