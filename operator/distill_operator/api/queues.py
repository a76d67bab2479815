"""What an object's Jobs wait in before their Pods get devices."""

from typing import Annotated

from pydantic import ConfigDict, Field

from distill_operator.api.rules import Rule, exactly_one_of, with_rules
from distill_runtime.contract import Model

SYSTEMS = ("kueue", "volcano", "native")
QueueName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class VolcanoQueue(Model):
    """Volcano's scheduler."""

    queue: QueueName = Field(default="default", description="Queue of Volcano that the Pods belong to.")


class NativeGroup(Model):
    """Kubernetes' own scheduler, with a PodGroup for Pods that need each other."""


class Queue(Model):
    """One of the systems that place an object's Pods all together or not at all, or let them wait for a quota."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            exactly_one_of("spec.queue", *SYSTEMS),
            Rule(
                "!has(self.workloadPriorityClass) || has(self.kueue)",
                "workloadPriorityClass is Kueue's: set kueue, or use spec.priorityClassName",
                field="workloadPriorityClass",
            ),
        )
    )

    kueue: QueueName | None = Field(default=None, description="LocalQueue of Kueue in the object's namespace.")
    workload_priority_class: QueueName | None = Field(
        default=None,
        description="WorkloadPriorityClass of Kueue, by which it queues and preempts; else spec.priorityClassName is.",
    )
    volcano: VolcanoQueue | None = Field(default=None, description="Volcano places the Pods.")
    native: NativeGroup | None = Field(
        default=None,
        description="Kubernetes places Pods that train together by a PodGroup (scheduling.k8s.io/v1beta1, Kubernetes "
        "1.37 with the feature gate GenericWorkload).",
    )

    @property
    def system(self) -> str:
        """Name of the system that is set, of SYSTEMS."""
        return next(name for name in SYSTEMS if getattr(self, name) is not None)

    def __str__(self) -> str:
        """Give all that it says, by which another one is told from it."""
        queue = self.volcano.queue if self.volcano is not None else self.kueue
        return "/".join(part for part in (self.system, queue, self.workload_priority_class) if part is not None)
