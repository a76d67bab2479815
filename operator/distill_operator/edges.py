"""What reconciling asks of the world: what is known of the cluster, what is written to it, what Pods say.

`store`, `cluster` and `progress` are these; a test may stand for all three at once.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from distill_operator.observation import JobView, PodListing, PodView, ResourceKey
from distill_runtime.contract import Progress


class Store(Protocol):
    """What is known of the cluster."""

    def resource(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Give the object that `key` names, if it exists."""

    def jobs(self, key: ResourceKey) -> tuple[JobView, ...]:
        """Give the Jobs of the object, and of earlier ones of its name."""

    def pods(self, key: ResourceKey) -> tuple[PodView, ...]:
        """Give the Pods of the object, and of earlier ones of its name."""

    def dependencies(self, key: ResourceKey) -> tuple[ResourceKey, ...]:
        """Give the objects that this one waits for."""

    def take_pods(self, key: ResourceKey, listing: PodListing) -> None:
        """Know the Pods of the object as they have just been listed, and no others."""

    def put(self, kind: str, body: Mapping[str, Any]) -> tuple[ResourceKey, ...]:
        """Take in an object as it is now. Gives the custom resources that this is news to."""


class Writer(Protocol):
    """What writes to the cluster. Everything raises `ClusterError` for what the API server does not do."""

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, unless it is there already. Gives the object as it is."""

    async def apply_status(self, key: ResourceKey, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """Make `status` the whole status of the object of this resourceVersion. Gives the object as it is then."""

    async def list_pods(self, key: ResourceKey) -> PodListing:
        """List the Pods of the object, as they are now."""

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete a Job, if it is still there."""


class ProgressSource(Protocol):
    """What knows how far running Pods are."""

    def follow(self, key: ResourceKey, pods: Iterable[PodView]) -> Mapping[str, Progress]:
        """Have these Pods of an object asked from now on, and no others of it. Gives what they last said, by name."""

    def forget(self, key: ResourceKey) -> None:
        """Ask the Pods of an object no more."""
