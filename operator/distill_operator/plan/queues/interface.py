"""What each system that Jobs may wait in has to give."""

from collections.abc import Callable
from typing import Any

from distill_operator.api.queues import Queue
from distill_operator.plan.stages import Outline

Manifest = dict[str, Any]

AddQueue = Callable[[Manifest, Outline, Queue], list[Manifest]]
"""Adds to a Job that is being built what `spec.queue` takes. Gives what has to be there before the Job."""


def annotated(metadata: Manifest, annotations: dict[str, str]) -> Manifest:
    """Give metadata with more annotations."""
    return {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}
