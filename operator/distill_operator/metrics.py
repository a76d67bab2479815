"""The operator's Prometheus metrics: what it does, and how the objects stand."""

import time
from collections import Counter as Counted
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from distill_operator.api import EvalRunStatus, FinetuneRunStatus, Status
from distill_operator.observation import ResourceKey

_OBJECT = ("kind", "namespace", "name")


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
        self._loss = Gauge("npu_distill_training_loss", "Latest training loss.", _OBJECT, registry=self._registry)
        self._step = Gauge("npu_distill_training_step", "Optimizer steps done.", _OBJECT, registry=self._registry)
        self._restarts = Gauge(
            "npu_distill_training_restarts", "Attempts that failed.", _OBJECT, registry=self._registry
        )
        self._disruptions = Gauge(
            "npu_distill_training_disruptions",
            "Attempts that ended since a Pod was taken off its node.",
            _OBJECT,
            registry=self._registry,
        )
        self._score = Gauge("npu_distill_score_percent", "pass@1 in percent.", _OBJECT, registry=self._registry)
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
        if isinstance(status, FinetuneRunStatus):
            self._restarts.labels(*labels).set(status.restarts)
            self._disruptions.labels(*labels).set(status.disruptions)
            if status.loss is not None:
                self._loss.labels(*labels).set(status.loss)
            if status.step is not None:
                self._step.labels(*labels).set(status.step)
        if isinstance(status, EvalRunStatus) and status.score is not None:
            self._score.labels(*labels).set(status.score)

    def forget(self, key: ResourceKey) -> None:
        """Show a deleted object no more, nor its namespace if it was the last one there."""
        before = self._conditions.pop(key, None)
        if before is None:
            return
        labels = (key.kind, key.namespace, key.name)
        self._condition.remove(*labels, before)
        for gauge in (self._loss, self._step, self._restarts, self._disruptions, self._score):
            gauge.remove_by_labels(dict(zip(_OBJECT, labels, strict=True)))
        self._objects[key.namespace] -= 1
        if not self._objects[key.namespace]:
            del self._objects[key.namespace]
            for counter in (self._status_writes, self._children):
                counter.remove_by_labels({"namespace": key.namespace})

    def expose(self) -> bytes:
        """Give all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
