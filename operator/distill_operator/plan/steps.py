"""The next step of a stage: where it stands, why, and what is to be done for it."""

from dataclasses import dataclass
from datetime import timedelta

from distill_operator.api import StageStatus
from distill_operator.observation import JobView
from distill_operator.plan.stages import Invalid, Waiting


@dataclass(frozen=True)
class Step:
    """Where a stage stands now, why, and what is to be done for it.

    `start` is the attempt whose Job is to be started, `avoid` the nodes that it should rather not run on.
    `look_again_after` is set where time alone, without any event, changes what is to be done; `blocked` where a Job
    should be started and cannot be; `confirm` where what is next rests on Pods that should be there and are not known,
    or not as they should be, so that they are to be read anew: a watch that is late would have work done twice.
    """

    status: StageStatus
    reason: str = ""
    message: str = ""
    start: int | None = None
    avoid: tuple[str, ...] = ()
    delete: tuple[JobView, ...] = ()
    look_again_after: timedelta | None = None
    blocked: Waiting | Invalid | None = None
    confirm: bool = False
