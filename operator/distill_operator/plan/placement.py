"""Pods that train together, of which only some fit on a node: those give their devices back, and all try again later.

Kubernetes' own scheduler places Pods one by one. Where two runs want what is enough for one, each would hold a part and
wait for the other's. What queues or schedules whole groups has no need of this; see docs/queues.md.

It takes two looks, so that an operator that is ended in between neither forgets the pause nor counts it twice: the
first writes down until when to wait, and the second, which finds that written, deletes the Job.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from distill_operator.api import StageState, StageStatus
from distill_operator.observation import DeviceRequest, JobView, NodeDevices, PodView
from distill_operator.plan.buckets import Attempt, Children
from distill_operator.plan.obstacles import STUCK_TERMINATING
from distill_operator.plan.stages import Blocked, Outline, Stage, Teamwork
from distill_operator.plan.steps import Step

WAITING_FOR_NODES = "WaitingForNodes"
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(minutes=10)
SPREAD = 0.25
"""By how much of itself a wait is longer at most, by chance: two runs that are in each other's way, and gave back at
the same moment, would meet again at every try."""
MOST_NODES_NAMED = 8
_MOST_DOUBLINGS = 10


def give_back(
    planned: Stage | Blocked, attempt: Attempt, before: StageStatus, children: Children, now: datetime
) -> Step | None:
    """Give the step by which Pods that wait in vain for the others give their devices back, if that is due."""
    stage, job = planned.outline, attempt.job
    due = given_back_at(stage, job, attempt.pods)
    if due is None or now < due:
        return None
    if not children.confirmed:  # a watch that is late must not end what trains
        asked = None if is_paused(before, now) else _request(planned)
        message = f"Reading which Pods of Job {job.name} have a node."
        return Step(before, stage.reason, message, confirm=True, ask_nodes=asked)
    if is_paused(before, now):  # it is written down: an operator that begins anew goes on here
        return Step(before, WAITING_FOR_NODES, before.message or "", delete=(job,))
    times = before.given_back + 1
    again = now + _wait(job, times)
    missing = f"{_what_is_missing(planned, job, attempt.pods)}{_what_is_free(children.nodes)}"
    message = f"{missing} It is tried again at {again:%H:%M:%S} UTC"
    message += f", for the {_ordinal(times)} time." if times > 1 else "."
    update = {
        "state": StageState.PENDING,
        "rate": None,
        "eta_seconds": None,
        "given_back": times,
        "next_try_at": again,
        "message": message,
    }
    return Step(before.model_copy(update=update), WAITING_FOR_NODES, message, look_again_after=timedelta())


def given_back_at(stage: Outline, job: JobView, pods: Sequence[PodView]) -> datetime | None:
    """Give when Pods that have a node give it back since others have none; None where all have, or none has."""
    if stage.start_timeout is None or stage.teamwork is not Teamwork.TOGETHER or job.suspended:
        return None
    if job.local_queue or job.placed_together:
        return None  # Kueue gives devices back itself (waitForPodsReady), and a scheduler of groups places no part
    if job.ended_pods or any(pod.finished or pod.deleting for pod in pods):
        return None  # the attempt is about to end by itself
    placed = [pod for pod in pods if _has_node(pod)]
    since = min((pod.scheduled_at for pod in placed if pod.scheduled_at is not None), default=None)
    return since + stage.start_timeout if since is not None and len(placed) < stage.pods else None


def settled(stage: Outline, before: StageStatus, pods: Sequence[PodView], now: datetime) -> StageStatus:
    """Give the status of a Job that is there: the pause is over, and once all Pods have a node, it was the last."""
    if before.next_try_at is not None and not is_paused(before, now):
        before = before.model_copy(update={"next_try_at": None})
    if before.given_back and sum(map(_has_node, pods)) >= stage.pods:
        before = before.model_copy(update={"given_back": 0, "next_try_at": None})
    return before


def is_paused(status: StageStatus, now: datetime) -> bool:
    """Tell whether a stage whose Pods have given their devices back is not to be tried yet."""
    return status.next_try_at is not None and now < status.next_try_at


def while_ending(step: Step, now: datetime) -> Step:
    """Give the step of a Job that is being deleted, in the words in which its Pods gave their devices back if so.

    A Pod that does not end is what there is to say before.
    """
    paused = pause(step.status, now)
    if paused is None or step.reason == STUCK_TERMINATING:
        return step
    return replace(step, reason=paused.reason, message=paused.message)


def pause(status: StageStatus, now: datetime) -> Step | None:
    """Give the step of a stage that is not to be tried yet, if it is not."""
    if status.next_try_at is None or not is_paused(status, now):
        return None
    return Step(status, WAITING_FOR_NODES, status.message or "", look_again_after=status.next_try_at - now)


def _has_node(pod: PodView) -> bool:
    return bool(pod.node) or pod.scheduled_at is not None


def _wait(job: JobView, times: int) -> timedelta:
    """Give how long to wait after the devices were given back so many times in a row."""
    wait = min(FIRST_WAIT * 2.0 ** min(times - 1, _MOST_DOUBLINGS), LONGEST_WAIT)
    drawn = hashlib.sha256(f"{job.owner_uid}/{job.name}/{times}".encode()).digest()
    share = 1 + SPREAD * int.from_bytes(drawn[:4]) / 2**32
    return timedelta(seconds=round(wait.total_seconds() * share))


def _what_is_missing(planned: Stage | Blocked, job: JobView, pods: Sequence[PodView]) -> str:
    placed = [pod for pod in pods if _has_node(pod)]
    waits = next((pod for pod in pods if not _has_node(pod)), None)
    if waits is None:
        why = f"of the others there are none: `kubectl describe job {job.name}` says why (quota, policy)"
    elif waits.unschedulable:
        why = f"Pod {waits.name} does not: {waits.unschedulable.rstrip('.')}"
    else:
        why = f"Pod {waits.name} has none, and no scheduler has said why"
    held = _held(planned, len(placed))
    return f"Only {len(placed)} of {planned.outline.pods} Pods have a node; {why}. They give {held} back."


def _what_is_free(nodes: Sequence[NodeDevices] | None) -> str:
    """Say how many devices are free beside those that are given back, of the nodes with most."""
    if nodes is None:
        return ""
    if not nodes:
        return " No node has any of these, or none of those that the profile selects."
    named = [
        f"{each.node} {each.free} of {each.devices}{' (cordoned)' if each.cordoned else ''}"
        for each in nodes[:MOST_NODES_NAMED]
    ]
    more = f" and {len(nodes) - MOST_NODES_NAMED} more nodes" if len(nodes) > MOST_NODES_NAMED else ""
    return f" Beside these, free are: {', '.join(named)}{more}."


def _request(planned: Stage | Blocked) -> DeviceRequest | None:
    if isinstance(planned, Blocked) or planned.profile is None or not planned.profile.resource or not planned.devices:
        return None
    return DeviceRequest(planned.profile.resource, tuple(sorted(planned.profile.node_selector.items())))


def _held(planned: Stage | Blocked, pods: int) -> str:
    request = _request(planned)
    if request is None or isinstance(planned, Blocked):
        return "their nodes"
    return f"{pods * planned.devices} {request.resource}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
