"""The operator's Prometheus metrics: what it does, and how the objects stand."""

import time
from collections import Counter as Counted
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from distill_operator.api import EvalRunStatus, FinetuneRunStatus, StageState, Status
from distill_operator.observation import ResourceKey

_OBJECT = ("kind", "namespace", "name")


@dataclass(frozen=True)
class _Figure:
    """A figure of an object's status as a gauge; while the status has none, there is no series.

    Attributes:
        name: of the metric, with its unit as Prometheus has it.
        description: in a sentence.
        kind: whose status has it.
        value: reads it from such a status.
    """

    name: str
    description: str
    kind: type[Status]
    value: Callable[[Any], float | None]


def _running(status: FinetuneRunStatus, value: float | None) -> float | None:
    """Give what only a run that trains has: added up, the speed of runs that are done would count as well."""
    train = status.stage("train")
    return value if train is not None and train.state is StageState.RUNNING else None


def _memory(status: FinetuneRunStatus) -> float | None:
    """Give the bytes a device needs, of which the status itself has a text."""
    stages = (status.stage(name) for name in ("train-preflight", "train"))
    return next((found for stage in stages if stage and (found := stage.metrics.get("memoryPerDevice"))), None)


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _of_training(name: str, description: str, value: Callable[[FinetuneRunStatus], float | None]) -> _Figure:
    return _Figure(f"npu_distill_training_{name}", description, FinetuneRunStatus, value)


_FIGURES = (
    _of_training("epoch", "Pass over the data that it is in, from 1.", lambda status: status.epoch),
    _of_training("step", "Optimizer steps done.", lambda status: status.step),
    _of_training("total_steps", "Optimizer steps in all.", lambda status: status.total_steps),
    _of_training("loss", "Latest training loss.", lambda status: status.loss),
    _of_training("learning_rate", "Learning rate of the latest step.", lambda status: status.learning_rate),
    _of_training("gradient_norm", "Global norm before clipping.", lambda status: status.gradient_norm),
    _of_training(
        "tokens_per_second",
        "Tokens trained on a second, without padding, while it trains.",
        lambda status: _running(status, status.tokens_per_second),
    ),
    _of_training(
        "model_flops_utilization_ratio",
        "Share of the devices' peak that the model takes (MFU), while it trains.",
        lambda status: _running(status, status.model_flops_utilization),
    ),
    _of_training(
        "last_checkpoint_step",
        "Steps that are saved, while it trains.",
        lambda status: _running(status, status.last_checkpoint_step),
    ),
    _of_training(
        "last_checkpoint_timestamp_seconds",
        "When the last checkpoint was saved, while it trains.",
        lambda status: _running(status, _seconds(status.last_checkpoint_time)),
    ),
    _of_training("memory_per_device_bytes", "Memory that a device is estimated to need.", _memory),
    _of_training("restarts", "Attempts that failed.", lambda status: status.restarts),
    _of_training(
        "disruptions", "Attempts that ended since a Pod was taken off its node.", lambda status: status.disruptions
    ),
    _of_training("lost_steps", "Steps that were done again.", lambda status: status.lost_steps),
    _Figure("npu_distill_score_percent", "pass@1 in percent.", EvalRunStatus, lambda status: status.score),
)


class Metrics:
    """Every metric, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reconciliations = Histogram(
            "npu_distill_reconcile_seconds", "Time of one reconciliation.", ["kind"], registry=self._registry
        )
        self._errors = Counter(
            "npu_distill_reconcile_errors", "Reconciliations that raised.", ["kind"], registry=self._registry
        )
        self._status_writes = Counter(
            "npu_distill_status_writes",
            "Status writes to the API server.",
            ["kind", "namespace"],
            registry=self._registry,
        )
        self._children = Counter(
            "npu_distill_children_created", "Children created.", ["kind", "namespace"], registry=self._registry
        )
        self._queue = Gauge("npu_distill_queue_length", "Objects that wait for a worker.", registry=self._registry)
        self._condition = Gauge(
            "npu_distill_object_condition",
            "1 for the condition that holds: Ready, Reconciling, Stalled or Suspended.",
            [*_OBJECT, "condition"],
            registry=self._registry,
        )
        self._figures = {
            figure: Gauge(figure.name, figure.description, _OBJECT, registry=self._registry) for figure in _FIGURES
        }
        self._conditions: dict[ResourceKey, str] = {}
        self._objects: Counted[str] = Counted()

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Have the queue's length read whenever metrics are."""
        self._queue.set_function(length)

    @contextmanager
    def reconciliation(self, kind: str) -> Iterator[None]:
        """Measure one reconciliation."""
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            self._errors.labels(kind).inc()
            raise
        finally:
            self._reconciliations.labels(kind).observe(time.perf_counter() - start)

    def status_written(self, kind: str, namespace: str) -> None:
        """Count a status write."""
        self._status_writes.labels(kind, namespace).inc()

    def child_created(self, kind: str, namespace: str) -> None:
        """Count a child created."""
        self._children.labels(kind, namespace).inc()

    def observe(self, key: ResourceKey, status: Status) -> None:
        """Show how an object stands."""
        labels = (key.kind, key.namespace, key.name)
        holds = next((item.type for item in status.conditions if item.status == "True"), "Suspended")
        before = self._conditions.get(key)
        if before is None:
            self._objects[key.namespace] += 1
        elif before != holds:
            self._condition.remove(*labels, before)
        self._conditions[key] = holds
        self._condition.labels(*labels, holds).set(1)
        for figure, gauge in self._figures.items():
            if not isinstance(status, figure.kind):
                continue
            value = figure.value(status)
            if value is None:
                gauge.remove(*labels)
            else:
                gauge.labels(*labels).set(value)

    def forget(self, key: ResourceKey) -> None:
        """Show a deleted object no more, nor its namespace if it was the last one there."""
        before = self._conditions.pop(key, None)
        if before is None:
            return
        labels = (key.kind, key.namespace, key.name)
        self._condition.remove(*labels, before)
        for gauge in self._figures.values():
            gauge.remove(*labels)
        self._objects[key.namespace] -= 1
        if not self._objects[key.namespace]:
            del self._objects[key.namespace]
            for counter in (self._status_writes, self._children):
                counter.remove_by_labels({"namespace": key.namespace})

    def expose(self) -> bytes:
        """Give all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
