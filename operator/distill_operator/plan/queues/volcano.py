"""Volcano: a scheduler that places the Pods of a group all together or not at all.

Its controller makes a PodGroup for a Job whose Pods name the scheduler: as many members as an annotation of the Job
says, in the queue that an annotation of the Pods says (pg_controller_handler.go, volcano-sh/volcano at 06859c5). So no
PodGroup is created here, and no right to do so is needed. MindCluster's Ascend plugin takes the number from an
annotation of the Pods (its documentation, "K8s native objects"). Not run: there was no Volcano at hand.
"""

from typing import Final

from distill_operator.api.queues import Queue
from distill_operator.observation import VOLCANO_MIN_MEMBER
from distill_operator.plan.queues.interface import Manifest, annotated
from distill_operator.plan.stages import Outline, Teamwork

_SCHEDULER: Final = "volcano"
_QUEUE: Final = "scheduling.volcano.sh/queue-name"
_MINDCLUSTER_MIN_AVAILABLE: Final = "huawei.com/schedule_minAvailable"


def add(job: Manifest, stage: Outline, queue: Queue) -> list[Manifest]:
    """Have Volcano place the Job's Pods."""
    assert queue.volcano is not None
    members = str(stage.pods if stage.teamwork is Teamwork.TOGETHER else 1)  # a shard starts without the others
    template = job["spec"]["template"]
    job["metadata"] = annotated(job["metadata"], {VOLCANO_MIN_MEMBER: members})
    template["metadata"] = annotated(
        template["metadata"], {_QUEUE: queue.volcano.queue, _MINDCLUSTER_MIN_AVAILABLE: members}
    )
    template["spec"].setdefault("schedulerName", _SCHEDULER)  # a profile may know it by another name
    return []
