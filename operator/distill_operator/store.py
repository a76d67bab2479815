"""What there is in the cluster as far as is known, reduced to what reconciling reads.

It is known from listings, from watches and from the answers to the operator's own writes, which come in any order. A
uid tells an object from another of the same name. A resourceVersion tells what is newer: of two objects of a kind, the
one that was written later has the larger number (Kubernetes API concepts, "Resource versions"), so that what is older
than what is known is no news.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from distill_operator.api import KINDS
from distill_operator.observation import JobView, PodListing, PodView, ResourceKey, owner_key, view_job, view_pod
from distill_operator.plan.decision import parse
from distill_operator.plan.kinds import KIND_PLANS

WATCHED_KINDS = (*KINDS, "Job", "Pod")
KEPT_METADATA = ("name", "namespace", "uid", "generation", "resourceVersion", "deletionTimestamp")

Value = TypeVar("Value")

_log = logging.getLogger(__name__)


class WatchedStore:
    """The objects that are known: listings, watches and writes put them in, `reconcile` reads them."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table[Any]] = {kind: _Table() for kind in WATCHED_KINDS}
        self._dependents: _Table[ResourceKey] = _Table()

    def put(self, kind: str, body: Mapping[str, Any]) -> tuple[ResourceKey, ...]:
        """Take in an object of `kind` as it is now. Gives the custom resources that this is news to.

        A Job or a Pod that belongs to no custom resource is left out.
        """
        uid, version, key = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"]), _key(kind, body)
        table = self._tables[kind]
        known = table.get(uid)
        if known is not None and version <= known.version:
            return ()
        value = _value(kind, body, known) if key is not None else None
        if key is None or value is None:
            self.discard(kind, uid)
        else:
            table.put(uid, _Entry(key, version, value))
            if isinstance(value, _Resource):
                self._tie(uid, known, _Entry(key, version, value))
        concerned = (*(self._concerned(kind, known.key) if known is not None else ()), *self._concerned(kind, key))
        return tuple(dict.fromkeys(concerned))

    def discard(self, kind: str, uid: str) -> tuple[ResourceKey, ...]:
        """Forget an object that is gone. Gives the custom resources that this is news to."""
        known = self._tables[kind].get(uid)
        self._tables[kind].discard(uid)
        self._untie(uid, known)
        return self._concerned(kind, known.key) if known is not None else ()

    def known(self) -> tuple[ResourceKey, ...]:
        """Give every custom resource that is known."""
        return tuple(entry.key for kind in KINDS for _, entry in self._tables[kind].entries())

    def discard_missing(
        self, kind: str, namespace: str | None, version: int, uids: Collection[str]
    ) -> tuple[ResourceKey, ...]:
        """Forget what a listing of `kind` in `namespace`, or in all, does not name. Gives whom that concerns.

        `uids` are those that the listing names, and `version` is its own: what was written after it stays.
        """
        missing = [
            uid
            for uid, entry in self._tables[kind].entries()
            if uid not in uids and entry.version <= version and namespace in (None, entry.key.namespace)
        ]
        return tuple(dict.fromkeys(found for uid in missing for found in self.discard(kind, uid)))

    def take_pods(self, key: ResourceKey, listing: PodListing) -> None:
        """Know the Pods of the object as they have just been listed, and no others."""
        for body in listing.bodies:
            self.put("Pod", body)
        listed = {body["metadata"]["uid"] for body in listing.bodies}
        for uid, entry in self._tables["Pod"].entries_of(key):
            if uid not in listed and entry.version <= listing.version:
                self.discard("Pod", uid)

    def resource(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Give the object that `key` names, if it exists."""
        newest = self._newest(key)
        return newest.body if newest is not None else None

    def jobs(self, key: ResourceKey) -> tuple[JobView, ...]:
        """Give the Jobs of the object, and of earlier ones of its name."""
        return tuple(entry.value for entry in self._tables["Job"].of(key))

    def pods(self, key: ResourceKey) -> tuple[PodView, ...]:
        """Give the Pods of the object, and of earlier ones of its name."""
        return tuple(entry.value for entry in self._tables["Pod"].of(key))

    def dependencies(self, key: ResourceKey) -> tuple[ResourceKey, ...]:
        """Give the objects that this one waits for."""
        newest = self._newest(key)
        return newest.dependencies if newest is not None else ()

    def _tie(self, uid: str, known: "_Entry[Any] | None", entry: "_Entry[_Resource]") -> None:
        """Note whom news of others concerns: the object, under a name of its own for each that it waits for."""
        if known is not None and known.value.dependencies == entry.value.dependencies:
            return
        self._untie(uid, known)
        for position, dependency in enumerate(entry.value.dependencies):
            self._dependents.put(f"{uid}/{position}", _Entry(dependency, entry.version, entry.key))

    def _untie(self, uid: str, known: "_Entry[Any] | None") -> None:
        if known is not None and isinstance(known.value, _Resource):
            for position in range(len(known.value.dependencies)):
                self._dependents.discard(f"{uid}/{position}")

    def _concerned(self, kind: str, key: ResourceKey | None) -> tuple[ResourceKey, ...]:
        """A custom resource also concerns those that wait for it; a Job or a Pod only the one that it belongs to."""
        if key is None:
            return ()
        return (key, *(entry.value for entry in self._dependents.of(key))) if kind in KINDS else (key,)

    def _newest(self, key: ResourceKey) -> "_Resource | None":
        """One of the same name that was deleted unnoticed may still be known."""
        newest = max(self._tables[key.kind].of(key), key=lambda entry: entry.version, default=None)
        return newest.value if newest is not None else None


@dataclass(frozen=True, slots=True)
class _Resource:
    """A custom resource, and what it waits for."""

    body: Mapping[str, Any]
    dependencies: tuple[ResourceKey, ...]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    """What is kept of one object: under which key, as of which resourceVersion."""

    key: ResourceKey
    version: int
    value: Value


class _Table(Generic[Value]):
    """Entries by the uid of their object, and by their key, which several may share, in the order of their arrival."""

    def __init__(self) -> None:
        self._by_uid: dict[str, _Entry[Value]] = {}
        self._by_key: dict[ResourceKey, dict[str, _Entry[Value]]] = {}

    def put(self, uid: str, entry: _Entry[Value]) -> None:
        if uid in self._by_uid and self._by_uid[uid].key != entry.key:
            self.discard(uid)
        self._by_uid[uid] = entry
        self._by_key.setdefault(entry.key, {})[uid] = entry

    def get(self, uid: str) -> _Entry[Value] | None:
        return self._by_uid.get(uid)

    def discard(self, uid: str) -> None:
        entry = self._by_uid.pop(uid, None)
        if entry is None:
            return
        of_key = self._by_key[entry.key]
        del of_key[uid]
        if not of_key:
            del self._by_key[entry.key]

    def of(self, key: ResourceKey) -> Collection[_Entry[Value]]:
        return self._by_key.get(key, {}).values()

    def entries_of(self, key: ResourceKey) -> tuple[tuple[str, _Entry[Value]], ...]:
        return tuple(self._by_key.get(key, {}).items())

    def entries(self) -> Collection[tuple[str, _Entry[Value]]]:
        return self._by_uid.items()


def _key(kind: str, body: Mapping[str, Any]) -> ResourceKey | None:
    """Give the custom resource that an object is or belongs to."""
    if kind in KINDS:
        return ResourceKey(kind, body["metadata"]["namespace"], body["metadata"]["name"])
    owner = owner_key(body)
    return owner if owner is not None and owner.kind in KINDS else None


def _value(kind: str, body: Mapping[str, Any], known: "_Entry[Any] | None") -> "JobView | PodView | _Resource | None":
    """Reduce an object to what is read of it; None of one that is no child of ours, whatever its labels say."""
    if kind in KINDS:
        kept = _kept(body)
        if known is not None and known.value.body["spec"] == kept["spec"]:
            return _Resource(kept, known.value.dependencies)  # to parse a spec costs more than to compare it
        return _Resource(kept, _dependencies(kind, body))
    try:
        return view_job(body) if kind == "Job" else view_pod(body)
    except ValueError as error:
        metadata = body["metadata"]
        _log.warning("%s %s/%s is left out: %s", kind, metadata["namespace"], metadata["name"], error)
        return None


def _dependencies(kind: str, body: Mapping[str, Any]) -> tuple[ResourceKey, ...]:
    plan = KIND_PLANS[kind]
    try:
        return plan.dependencies(parse(plan, body))
    except ValidationError:
        return ()  # the object's own reconciliation says what is wrong with it


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give what reconciling reads of an object: managedFields alone are often longer than the rest."""
    metadata = body["metadata"]
    return {
        "metadata": {name: metadata[name] for name in KEPT_METADATA if name in metadata},
        "spec": dict(body.get("spec") or {}),
        "status": dict(body.get("status") or {}),
    }
