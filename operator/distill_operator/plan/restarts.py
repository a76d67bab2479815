"""Whether a failed attempt is followed by another, what that one begins with, and how soon it may.

Failures count since the last attempt that got further. A run of weeks may fail every night and still come to its end;
one that always fails at the same place does not begin there for ever.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from distill_operator.api import StageState, StageStatus
from distill_operator.observation import JobView
from distill_operator.plan.stages import Outline

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=6)
"""The pause before an attempt doubles with each that fails soon, from the one to the other, as a Job's does between its
Pods: a fault of the storage or of a node often passes. While it lasts devices wait, so there is none where an attempt
has worked."""
PAUSES = {"DevicesStillHeld": timedelta(seconds=30)}
"""The pause at least after some failures. CANN advises to wait for 10 s after the last training process was killed
(EJ0001, hicann/hcomm); a Pod's devices are its own again somewhat later than its processes end."""
SOON = timedelta(minutes=10)


def may_go_on(stage: Outline, ended: StageStatus) -> bool:
    """Tell whether another attempt may follow the one that `ended` is of."""
    return _failures(stage, ended) < stage.max_attempts


def next_attempt(stage: Outline, ended: StageStatus) -> StageStatus:
    """Give the status with which the attempt after the one that `ended` is of begins.

    What was reported last stays visible until something newer is: a restart does not begin at zero.
    """
    return ended.model_copy(
        update={
            "state": StageState.PENDING,
            "attempt": ended.attempt + 1,
            "failures": _failures(stage, ended),
            "done_before": max(ended.done or 0, ended.done_before or 0),
            "given_back": 0,
            "next_try_at": None,
            "finished_at": None,
            "rate": None,
            "eta_seconds": None,
            "message": None,
            "reason": None,
        }
    )


def retried(stage: Outline, failed: StageStatus) -> StageStatus:
    """Give the status with which a stage that has failed begins again, since `spec.retry` says so."""
    return next_attempt(stage, failed).model_copy(update={"failures": 0})


def pause_left(failed: Sequence[JobView], following: StageStatus, now: datetime) -> timedelta:
    """Give how long the attempt that `following` is of has to wait after the last of `failed`.

    After a disruption it need not, nor after an attempt that got further: what that one needed was there.
    """
    last = failed[-1] if failed else None
    if last is None or last.attempt in following.disrupted or last.finished_at is None:
        return timedelta()
    soon = 0
    for job in reversed(failed):
        if job.attempt in following.disrupted or not _failed_soon(job):
            break
        soon += 1
    pause = min(FIRST_PAUSE * 2.0 ** max(soon - 1, 0), LONGEST_PAUSE) if following.failures else timedelta()
    pause = max(pause, PAUSES.get(following.reason or "", pause))
    return max(last.finished_at + pause - now, timedelta())


def _failures(stage: Outline, ended: StageStatus) -> int:
    """Count the failed attempts in a row, up to and with this one, that got no further than those before them."""
    if _got_further(stage, ended):
        return 0
    return ended.failures if ended.attempt in ended.disrupted else ended.failures + 1


def _got_further(stage: Outline, ended: StageStatus) -> bool:
    """Tell whether more is safe now than when the attempt began: what it had done and not saved is done again."""
    return (ended.done or 0) // stage.saved_every > (ended.done_before or 0) // stage.saved_every


def _failed_soon(job: JobView) -> bool:
    return job.created_at is not None and job.finished_at is not None and job.finished_at - job.created_at < SOON
