"""The edge to the API server: what it has, children, status by server-side apply, deletion, Events.

The only module that imports kubernetes.

Every refusal of the API server leaves here as a `ClusterError` with the server's own words; nothing above sees an
HTTP status. What is listed comes in pages, so that no listing is ever in memory as a whole.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio import client, config

from distill_operator.api import GROUP, KINDS, VERSION
from distill_operator.errors import (
    BusyError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotServedError,
    ObjectGoneError,
)
from distill_operator.observation import CHILD_SELECTOR, KIND_LABEL, NAME_LABEL, PodListing, ResourceKey
from distill_operator.plan.events import Notice

FIELD_MANAGER = "npu-distill"
REQUEST_SECONDS = 30
PAGE_OBJECTS = 500
"""Objects of a page of a listing: a page of Pods is a few megabytes."""
FIRST_ERROR = 400
EXPIRED = 410
"""Of a listing that took longer than the API server remembers its beginning: it has to begin anew."""
LONGEST_RETRY_AFTER_SECONDS = 60.0
NOTE_BYTES = 1024
"""Longest note of an Event."""

_GROUP_PATH = f"/apis/{GROUP}/{VERSION}"
_COLLECTIONS = {
    # kind: API version's path, plural
    "Service": ("/api/v1", "services"),
    "Pod": ("/api/v1", "pods"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    **{name: (_GROUP_PATH, kind.plural) for name, kind in KINDS.items()},
}


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

    async def can_list(self, kind: str, namespace: str) -> bool:
        """Tell whether the operator may list a kind in `namespace`."""
        try:
            await self._request("GET", _collection(kind, namespace), _Options("application/json", ("limit", "1")))
        except ForbiddenError:
            return False
        return True

    async def pages(self, kind: str, namespace: str | None) -> AsyncIterator[list[dict[str, Any]]]:
        """List the objects of a kind that are watched, in `namespace` or in all, a page at a time."""
        async for page in self._pages(kind, namespace, "application/json"):
            yield page["items"] or []

    async def list_uids(self, kind: str, namespace: str | None) -> Listing:
        """List the same without the objects themselves."""
        version, uids = 0, set[str]()
        async for page in self._pages(kind, namespace, _METADATA_ONLY):
            version = int(page["metadata"]["resourceVersion"])  # the same on all pages
            uids.update(item["metadata"]["uid"] for item in page["items"] or ())
        return Listing(version, frozenset(uids))

    async def list_pods(self, key: ResourceKey) -> PodListing:
        """List the Pods of an object, as they are now."""
        selector = f"{CHILD_SELECTOR},{KIND_LABEL}={key.kind},{NAME_LABEL}={key.name}"
        version, bodies = 0, list[dict[str, Any]]()
        async for page in self._pages("Pod", key.namespace, "application/json", selector):
            version = int(page["metadata"]["resourceVersion"])  # the same on all pages
            bodies += page["items"] or ()
        return PodListing(version, tuple(bodies))

    async def _pages(
        self, kind: str, namespace: str | None, accept: str, selector: str = CHILD_SELECTOR
    ) -> AsyncIterator[dict[str, Any]]:
        query = [("limit", str(PAGE_OBJECTS))]
        if kind not in KINDS:
            query.append(("labelSelector", selector))
        token = ""
        while True:
            more = [("continue", token)] if token else []
            options = _Options("application/json", *query, *more, accept=accept)
            page = await self._request_json("GET", _collection(kind, namespace), options)
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, unless it is there already: doing it twice is doing it once. Gives the object as it is.

        Raises:
            ConflictError: another object's child has its name.
        """
        try:
            return await self._request_json("POST", _collection_of(manifest), _CREATE, manifest)
        except ConflictError:
            found = await self._request_json("GET", _path(manifest), _JSON)
        if _owners(found) != _owners(manifest):
            raise ConflictError(
                f"{manifest['kind']} {manifest['metadata']['name']} is there already, and belongs to another object."
            )
        return found

    async def apply_status(self, key: ResourceKey, version: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """Make `status` the whole status of the object, if it still has the resourceVersion `version`.

        Gives the object as it is then. A uid would not do for `version`: the API server ignores it in the status of a
        custom resource (measured on 1.34).

        Raises:
            ObjectGoneError: it was deleted.
            ConflictError: it has changed, or is another of the same name: `status` was made from what is out of date.
        """
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": version}
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": key.kind, "metadata": metadata, "status": status}
        return await self._request_json("PATCH", f"{_path(body)}/status", _APPLY, body)

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

    async def _request_json(
        self, method: str, path: str, options: "_Options", body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(await self._request(method, path, options, body))
        return answer

    async def _request(
        self, method: str, path: str, options: "_Options", body: Mapping[str, Any] | None = None
    ) -> bytes:
        # The body goes past the generated client's conversion of models: it is JSON already, and that walk is long.
        method, url, headers, _, _ = await self._api.param_serialize(
            method,
            path,
            query_params=list(options.query),
            header_params={
                "Accept": options.accept,
                "Accept-Encoding": "identity",  # to unpack a listing costs more than to carry it across a cluster
                "Content-Type": options.content_type,
            },
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._api.call_api(method, url, headers, body, _request_timeout=REQUEST_SECONDS)
            text = await response.read()
        except TimeoutError as error:
            raise BusyError(f"{method} {path}: no answer within {REQUEST_SECONDS} s") from error
        except (aiohttp.ClientError, client.ApiException) as error:
            raise BusyError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= FIRST_ERROR:
            raise _error(method, path, response.status, text, response.headers.get("Retry-After", ""))
        return bytes(text)


class _Options:
    """Content types and query of a kind of request."""

    def __init__(self, content_type: str, *query: tuple[str, str], accept: str = "application/json") -> None:
        self.content_type = content_type
        self.accept = accept
        self.query = query


_JSON = _Options("application/json")
_CREATE = _Options("application/json", ("fieldManager", FIELD_MANAGER))
_APPLY = _Options("application/apply-patch+yaml", ("fieldManager", FIELD_MANAGER), ("force", "true"))
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def _path(manifest: Mapping[str, Any]) -> str:
    return f"{_collection_of(manifest)}/{manifest['metadata']['name']}"


def _collection_of(manifest: Mapping[str, Any]) -> str:
    return _collection(manifest["kind"], manifest["metadata"]["namespace"])


def _owners(body: Mapping[str, Any]) -> set[str]:
    return {reference["uid"] for reference in body["metadata"].get("ownerReferences", ())}


def _collection(kind: str, namespace: str | None) -> str:
    version_path, plural = _COLLECTIONS[kind]
    return f"{version_path}/namespaces/{namespace}/{plural}" if namespace is not None else f"{version_path}/{plural}"


def _cut(text: str, size: int) -> str:
    """Give `text` in at most `size` bytes of UTF-8, which is what the API server counts."""
    encoded = text.encode()
    if len(encoded) <= size:
        return text
    return f"{encoded[: size - len('…'.encode())].decode(errors='ignore')}…"


_ERRORS = {403: ForbiddenError, 404: ObjectGoneError, 409: ConflictError, 422: InvalidError}
_BUSY = {408, EXPIRED, 429, 500, 502, 503, 504}


def _error(method: str, path: str, status: int, text: bytes, retry_after: str) -> ClusterError:
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text.decode(errors="replace")[:500]
    said = f"{method} {path.split('/namespaces/', 1)[-1]}: {message} (HTTP {status})"
    if status in _BUSY:
        seconds = float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0
        return BusyError(said, min(seconds, LONGEST_RETRY_AFTER_SECONDS))
    return _ERRORS.get(status, ClusterError)(said)


@asynccontextmanager
async def connect() -> AsyncIterator[Cluster]:
    """Connect with the Pod's service account, or outside a cluster with the kubeconfig's current context."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    configuration = client.Configuration.get_default_copy()
    # aiohttp would look for a proxy at every request, which costs more than the request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy_of(configuration.host)
    async with client.ApiClient(configuration) as api:
        yield Cluster(api)


def _proxy_of(url: str) -> str | None:
    """Give the proxy that the environment names for `url`, if any."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
