"""kopf's edge: watches in, keys into the queue. The only module that imports kopf.

kopf brings the watch streams, their restarts and the initial listing; its indices are the store that reconciling
reads. Nothing of kopf's own state goes into the cluster: there are only index functions and `on.event` handlers, which
set no finalizers and no annotations.
"""

from collections.abc import Collection, Mapping
from typing import Any

import kopf
from pydantic import ValidationError

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.observation import (
    MANAGED_BY_LABEL,
    MANAGER,
    JobView,
    PodView,
    ResourceKey,
    owner_key,
    view_job,
    view_pod,
)
from distill_operator.plan.decision import parse
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.work_queue import WorkQueue

JOBS, PODS = ("batch", "v1", "jobs"), ("", "v1", "pods")
JOB_INDEX, POD_INDEX, DEPENDENT_INDEX = "stage_jobs", "stage_pods", "dependents"
KEPT_METADATA = ("name", "namespace", "uid", "generation", "resourceVersion", "deletionTimestamp")

Index = Mapping[Any, Collection[Any]]


class KopfStore:
    """The store over kopf's indices, which are filled before the first event is handled."""

    def __init__(self) -> None:
        self._indices: dict[str, Index] = {}

    def attach(self, indices: Mapping[str, Index]) -> None:
        """Take over kopf's indices, at start-up."""
        self._indices = dict(indices)

    def resource(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Give the object that `key` names, if it exists."""
        return next(iter(self._indices[key.kind.lower()].get(key, ())), None)

    def jobs(self, key: ResourceKey) -> tuple[JobView, ...]:
        """Give the Jobs of the object, and of earlier ones of its name."""
        return tuple(self._indices[JOB_INDEX].get(key, ()))

    def pods(self, key: ResourceKey) -> tuple[PodView, ...]:
        """Give the Pods of the object, and of earlier ones of its name."""
        return tuple(self._indices[POD_INDEX].get(key, ()))

    def dependency(self, key: ResourceKey) -> ResourceKey | None:
        """Give the object that this one waits for, if any."""
        body = self.resource(key)
        return _dependency(key.kind, body) if body is not None else None

    def dependents(self, key: ResourceKey) -> tuple[ResourceKey, ...]:
        """Give the objects that wait for this one."""
        found: list[ResourceKey] = []
        for kind in KINDS:
            found += self._indices[f"{kind.lower()}_{DEPENDENT_INDEX}"].get(key, ())
        return tuple(found)


def _dependency(kind: str, body: Mapping[str, Any]) -> ResourceKey | None:
    plan = KIND_PLANS[kind]
    try:
        return plan.dependency(parse(plan, body))
    except ValidationError:
        return None  # the object's own reconciliation says what is wrong with it


def build_registry(store: KopfStore, queue: WorkQueue[ResourceKey]) -> kopf.OperatorRegistry:
    """Give the registry of all handlers: an index and an event handler for each resource that is watched."""
    registry = kopf.OperatorRegistry()
    _register_start(registry, store)
    for kind in KINDS:
        _register_kind(registry, kind, store, queue)
    _register_children(registry, queue)
    return registry


def _register_start(registry: kopf.OperatorRegistry, store: KopfStore) -> None:
    @kopf.on.login(registry=registry, id="login")
    def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    names = [JOB_INDEX, POD_INDEX]
    for kind in KINDS:
        names += [kind.lower(), f"{kind.lower()}_{DEPENDENT_INDEX}"]

    @kopf.on.startup(registry=registry, id="configure")
    def _configure(settings: kopf.OperatorSettings, **kwargs: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        for resource in (JOBS, PODS):
            settings.watching.label_selectors[resource] = f"{MANAGED_BY_LABEL}={MANAGER}"
        store.attach({name: kwargs[name] for name in names})


def _register_kind(registry: kopf.OperatorRegistry, kind: str, store: KopfStore, queue: WorkQueue[ResourceKey]) -> None:
    resource = (GROUP, VERSION, KINDS[kind].plural)

    @kopf.index(*resource, registry=registry, id=kind.lower())
    def _index(body: kopf.Body, **_: Any) -> dict[ResourceKey, dict[str, Any]]:
        return {_key(kind, body): _kept(body)}

    @kopf.index(*resource, registry=registry, id=f"{kind.lower()}_{DEPENDENT_INDEX}")
    def _index_dependency(body: kopf.Body, **_: Any) -> dict[ResourceKey, ResourceKey] | None:
        dependency = _dependency(kind, _kept(body))
        return {dependency: _key(kind, body)} if dependency is not None else None

    @kopf.on.event(*resource, registry=registry, id=f"{kind.lower()}_event")
    async def _changed(body: kopf.Body, **_: Any) -> None:
        key = _key(kind, body)
        queue.add(key)
        for dependent in store.dependents(key):
            queue.add(dependent)


def _register_children(registry: kopf.OperatorRegistry, queue: WorkQueue[ResourceKey]) -> None:
    @kopf.index(*JOBS, registry=registry, id=JOB_INDEX)
    def _index_job(body: kopf.Body, **_: Any) -> dict[ResourceKey, JobView] | None:
        key = owner_key(body)
        return {key: view_job(body)} if key is not None else None

    @kopf.index(*PODS, registry=registry, id=POD_INDEX)
    def _index_pod(body: kopf.Body, **_: Any) -> dict[ResourceKey, PodView] | None:
        key = owner_key(body)
        return {key: view_pod(body)} if key is not None else None

    async def _changed(body: kopf.Body, **_: Any) -> None:
        key = owner_key(body)
        if key is not None and key.kind in KINDS:
            queue.add(key)

    kopf.on.event(*JOBS, registry=registry, id="job_event")(_changed)
    kopf.on.event(*PODS, registry=registry, id="pod_event")(_changed)


def _key(kind: str, body: Mapping[str, Any]) -> ResourceKey:
    return ResourceKey(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give what reconciling reads of an object: managedFields alone are often longer than the rest."""
    metadata = body["metadata"]
    return {
        "metadata": {name: metadata[name] for name in KEPT_METADATA if name in metadata},
        "spec": dict(body.get("spec") or {}),
        "status": dict(body.get("status") or {}),
    }


async def watch(registry: kopf.OperatorRegistry, namespaces: Collection[str]) -> None:
    """Run kopf until the process is told to stop."""
    await kopf.operator(registry=registry, standalone=True, clusterwide=not namespaces, namespaces=namespaces)
