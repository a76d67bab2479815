"""Kubernetes' own scheduler with a PodGroup: the Pods of a training are placed all together or not at all.

It is no queue: nothing waits for a quota, and Pods that need no others are as without it. The API is of Kubernetes 1.37
(scheduling.k8s.io/v1beta1, PodGroup.spec.schedulingPolicy.gang.minCount and Pod.spec.schedulingGroup.podGroupName; off
unless the gate GenericWorkload is on). Not run yet.
"""

from distill_operator.api.queues import Queue
from distill_operator.plan.queues.interface import Manifest
from distill_operator.plan.stages import Outline, Teamwork


def add(job: Manifest, stage: Outline, _: Queue) -> list[Manifest]:
    """Make the Job's Pods a group, if they need each other. Gives the PodGroup."""
    if stage.teamwork is not Teamwork.TOGETHER or stage.pods == 1:
        return []
    pod = job["spec"]["template"]["spec"]
    pod["schedulingGroup"] = {"podGroupName": job["metadata"]["name"]}
    spec: Manifest = {"schedulingPolicy": {"gang": {"minCount": stage.pods}}}
    if "priorityClassName" in pod:
        spec["priorityClassName"] = pod["priorityClassName"]
    group = {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": {name: job["metadata"][name] for name in ("name", "namespace", "labels", "ownerReferences")},
        "spec": spec,
    }
    return [group]
