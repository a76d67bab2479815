"""The edge to the API server: what it has, server-side apply, status, deletion, Events.

The only module that imports kubernetes.

Every refusal of the API server leaves here as a `ClusterError` with the server's own words; nothing above sees an
HTTP status.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.observation import CHILD_SELECTOR, ResourceKey
from distill_operator.plan.events import Notice

FIELD_MANAGER = "npu-distill"
REQUEST_SECONDS = 30
FORBIDDEN, NOT_FOUND, CONFLICT, INVALID = 403, 404, 409, 422
FIRST_ERROR = 400
NOTE_BYTES = 1024
"""Longest note of an Event."""

_GROUP_PATH = f"/apis/{GROUP}/{VERSION}"
_COLLECTIONS = {
    # kind: API version's path, plural
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Pod": ("/api/v1", "pods"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    **{name: (_GROUP_PATH, kind.plural) for name, kind in KINDS.items()},
}


class ClusterError(Exception):
    """A request that the API server refused, or that did not reach it."""


class ObjectGoneError(ClusterError):
    """The object is not there any more."""


class ConflictError(ClusterError):
    """The object has changed since it was read, or is another one of the same name."""


class InvalidError(ClusterError):
    """What was sent is wrong, and will be the next time."""


class ForbiddenError(ClusterError):
    """The operator has no right to it."""


class NotServedError(ClusterError):
    """The API server does not know the kinds of this group."""


@dataclass(frozen=True)
class Listing:
    """The uids of the objects that there are, as of a resourceVersion."""

    version: int
    uids: frozenset[str]


class Cluster:
    """Asks the API server, and writes to it."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def require_kinds(self) -> None:
        """Make sure that the custom resources can be watched.

        Raises:
            NotServedError: their CustomResourceDefinitions are missing.
        """
        try:
            answer = await self._request("GET", _GROUP_PATH, _JSON)
        except ObjectGoneError:
            served: set[str] = set()
        else:
            served = {resource["name"] for resource in json.loads(answer)["resources"]}
        missing = [kind.plural for kind in KINDS.values() if kind.plural not in served]
        if missing:
            raise NotServedError(
                f"The API server does not serve {', '.join(missing)} of {GROUP}/{VERSION}. Install the "
                "CustomResourceDefinitions: kubectl apply --server-side -f crds/"
            )

    async def list_uids(self, kind: str, namespace: str | None) -> Listing:
        """List the objects of a kind that are watched, in `namespace` or in all.

        The API server answers from its watch cache, so that nothing is read from etcd; the answer may be a little old.
        """
        children = (("labelSelector", CHILD_SELECTOR),) if kind not in KINDS else ()
        options = _Options("application/json", ("resourceVersion", "0"), *children, accept=_METADATA_ONLY)
        listing = json.loads(await self._request("GET", _collection(kind, namespace), options))
        return Listing(
            version=int(listing["metadata"]["resourceVersion"]),
            uids=frozenset(item["metadata"]["uid"] for item in listing["items"] or ()),  # an empty list comes as null
        )

    async def apply(self, manifest: Mapping[str, Any]) -> None:
        """Create `manifest` or bring what exists to it, by server-side apply: doing it twice is doing it once."""
        await self._request("PATCH", _path(manifest), _APPLY, manifest)

    async def apply_status(self, key: ResourceKey, version: str, status: Mapping[str, Any]) -> str:
        """Make `status` the whole status of the object, if it still has the resourceVersion `version`.

        Gives the resourceVersion that the object has then. A uid would not do: the API server ignores it in the status
        of a custom resource (measured on 1.34).

        Raises:
            ObjectGoneError: it was deleted.
            ConflictError: it has changed, or is another of the same name: `status` was made from what is out of date.
        """
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": version}
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": key.kind, "metadata": metadata, "status": status}
        answer = await self._request("PATCH", f"{_path(body)}/status", _APPLY, body)
        return str(json.loads(answer)["metadata"]["resourceVersion"])

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete a Job; it stays visible until its last Pod has ended. One that is gone, or is another, is fine."""
        path = f"{_collection('Job', namespace)}/{name}"
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", path, _JSON, body)
        except (ObjectGoneError, ConflictError):
            return

    async def emit(self, key: ResourceKey, uid: str, notice: Notice, now: datetime) -> None:
        """Post an Event about the object."""
        digest = hashlib.sha256(f"{uid}{notice}{now.timestamp()}".encode()).hexdigest()[:16]
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{key.name}.{digest}", "namespace": key.namespace},
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
            },
            "type": notice.type,
            "reason": notice.reason,
            "note": _cut(notice.message, NOTE_BYTES),
            "action": "Reconcile",
            "eventTime": now.isoformat(timespec="microseconds"),
            "reportingController": "npu-distill.io/operator",
            "reportingInstance": "npu-distill",
        }
        await self._request("POST", _collection("Event", key.namespace), _JSON, body)

    async def _request(
        self, method: str, path: str, options: "_Options", body: Mapping[str, Any] | None = None
    ) -> bytes:
        call = await self._api.param_serialize(
            method,
            path,
            query_params=list(options.query),
            header_params={"Accept": options.accept, "Content-Type": options.content_type},
            body=dict(body) if body is not None else None,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._api.call_api(*call, _request_timeout=REQUEST_SECONDS)
            text = await response.read()
        except TimeoutError as error:
            raise ClusterError(f"{method} {path}: no answer within {REQUEST_SECONDS} s") from error
        except (aiohttp.ClientError, client.ApiException) as error:
            raise ClusterError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= FIRST_ERROR:
            raise _error(method, path, response.status, text)
        return bytes(text)


class _Options:
    """Content types and query of a kind of request."""

    def __init__(self, content_type: str, *query: tuple[str, str], accept: str = "application/json") -> None:
        self.content_type = content_type
        self.accept = accept
        self.query = query


_JSON = _Options("application/json")
_APPLY = _Options("application/apply-patch+yaml", ("fieldManager", FIELD_MANAGER), ("force", "true"))
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def _path(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    return f"{_collection(manifest['kind'], metadata['namespace'])}/{metadata['name']}"


def _collection(kind: str, namespace: str | None) -> str:
    version_path, plural = _COLLECTIONS[kind]
    return f"{version_path}/namespaces/{namespace}/{plural}" if namespace is not None else f"{version_path}/{plural}"


def _cut(text: str, size: int) -> str:
    """Give `text` in at most `size` bytes of UTF-8, which is what the API server counts."""
    encoded = text.encode()
    if len(encoded) <= size:
        return text
    return f"{encoded[: size - len('…'.encode())].decode(errors='ignore')}…"


_ERRORS = {
    FORBIDDEN: ForbiddenError,
    NOT_FOUND: ObjectGoneError,
    CONFLICT: ConflictError,
    INVALID: InvalidError,
}


def _error(method: str, path: str, status: int, text: bytes) -> ClusterError:
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text.decode(errors="replace")[:500]
    name = path.split("/namespaces/", 1)[-1]
    kind = _ERRORS.get(status, ClusterError)
    return kind(f"{method} {name}: {message} (HTTP {status})")


@asynccontextmanager
async def connect() -> AsyncIterator[Cluster]:
    """Connect with the Pod's service account, or outside a cluster with the kubeconfig's current context."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    async with client.ApiClient() as api:
        yield Cluster(api)
