"""A small API server over real HTTP: discovery, list and watch of what the operator watches, and what is written."""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from distill_operator.api import GROUP, KINDS, VERSION

Body = dict[str, Any]

GROUP_PATH = f"/apis/{GROUP}/{VERSION}"
PATHS = {
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    **{name: (GROUP_PATH, kind.plural) for name, kind in KINDS.items()},
}
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


class ApiServer:
    """Holds objects by kind and uid; tells watches of changes, except of those that are to go unnoticed."""

    def __init__(self) -> None:
        self.url = ""
        self.kinds = set(PATHS)
        self.objects: dict[str, dict[str, Body]] = {kind: {} for kind in PATHS}
        self.requests: list[web.Request] = []
        self.posted: list[Body] = []
        self.refusal: tuple[int, str] | None = None
        self.retry_after = ""
        self.silent = False
        self.forbidden: set[str] = set()
        self.token = "first"
        self._versions = itertools.count(1)
        self._version = 0
        self._watches: defaultdict[str, set[asyncio.Queue[Body]]] = defaultdict(set)

    def write_kubeconfig(self, path: Path) -> None:
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def put(self, kind: str, body: Body) -> None:
        uid = body["metadata"]["uid"]
        change = "MODIFIED" if uid in self.objects[kind] else "ADDED"
        self.objects[kind][uid] = self._written(body)
        self._tell(kind, {"type": change, "object": self.objects[kind][uid]})

    def delete(self, kind: str, uid: str) -> None:
        self._tell(kind, {"type": "DELETED", "object": self._written(self.objects[kind].pop(uid))})

    def delete_unnoticed(self, kind: str, uid: str) -> None:
        """Delete while the watch is away for longer than the server remembers: it has to begin anew."""
        self._written(self.objects[kind].pop(uid))
        self._tell(kind, GONE)

    def watched(self) -> bool:
        """Whether there is a watch of every kind."""
        return all(self._watches[kind] for kind in PATHS)

    def listings(self, kind: str) -> int:
        """How often a kind was listed in full."""
        plural = PATHS[kind][1]
        return sum(
            request.path.endswith(plural) and "watch" not in request.query and "as=" not in request.headers["Accept"]
            for request in self.requests
        )

    def _written(self, body: Body) -> Body:
        self._version = next(self._versions)
        return {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}

    def _tell(self, kind: str, event: Body) -> None:
        for queue in self._watches[kind]:
            queue.put_nowait(event)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ApiServer"]:
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            yield self
        finally:
            await runner.cleanup()

    def _application(self) -> web.Application:
        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            self.requests.append(request)
            if request.headers.get("Authorization", f"Bearer {self.token}") != f"Bearer {self.token}":
                return web.json_response({"message": "Unauthorized"}, status=401)
            if self.silent:
                await asyncio.Event().wait()
            if self.refusal is not None:
                headers = {"Retry-After": self.retry_after} if self.retry_after else {}
                return web.json_response({"message": self.refusal[1]}, status=self.refusal[0], headers=headers)
            if request.match_info.get("namespace") in self.forbidden:
                return web.json_response({"message": f"{request.path} is forbidden"}, status=403)
            return await handler(request)  # type: ignore[no-any-return]

        application = web.Application(middlewares=[note])
        application.router.add_get("/api", _answer({"versions": ["v1"]}))
        application.router.add_get("/apis", self._groups)
        for version_path in {path for path, _ in PATHS.values()}:
            application.router.add_get(version_path, self._discovery)
        for kind, (version_path, plural) in PATHS.items():
            for path in (f"{version_path}/{plural}", f"{version_path}/namespaces/{{namespace}}/{plural}"):
                application.router.add_get(path, self._list_or_watch(kind))
            application.router.add_post(f"{version_path}/namespaces/{{namespace}}/{plural}", self._create(kind))
            application.router.add_get(f"{version_path}/namespaces/{{namespace}}/{plural}/{{name}}", self._get(kind))
        application.router.add_post("/apis/events.k8s.io/v1/namespaces/{namespace}/events", self._post)
        return application

    async def _groups(self, _: web.Request) -> web.Response:
        versions = [
            {"groupVersion": f"{group}/{name}", "version": name} for group, name in (("batch", "v1"), (GROUP, VERSION))
        ]
        groups = [
            {"name": item["groupVersion"].split("/")[0], "versions": [item], "preferredVersion": item}
            for item in versions
        ]
        return web.json_response({"groups": groups})

    async def _discovery(self, request: web.Request) -> web.Response:
        served = {**{kind: PATHS[kind] for kind in self.kinds}, "Namespace": ("/api/v1", "namespaces")}
        found = [
            {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["list", "watch"]}
            for kind, (path, plural) in served.items()
            if path == request.path
        ]
        if not found:
            return web.json_response({"message": "the server could not find the requested resource"}, status=404)
        return web.json_response({"resources": found})

    def _list_or_watch(self, kind: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._watch(kind, request) if "watch" in request.query else self._list(kind, request)

        return handle

    def _list(self, kind: str, request: web.Request) -> web.Response:
        items = [body for body in self.objects[kind].values() if _selected(body, request)]
        since, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0"))
        metadata = {"resourceVersion": str(self._version)}
        if limit and len(items) > since + limit:
            metadata["continue"] = str(since + limit)
        items = items[since : since + limit] if limit else items
        listing: Body = {"metadata": metadata, "items": items}
        if request.headers["Accept"] == METADATA_ONLY:
            listing["items"] = [{"metadata": body["metadata"]} for body in items] or None
        return web.json_response(listing)

    async def _watch(self, kind: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[Body] = asyncio.Queue()
        self._watches[kind].add(queue)
        since = int(request.query["resourceVersion"])
        for body in self.objects[kind].values():
            if int(body["metadata"]["resourceVersion"]) > since:
                queue.put_nowait({"type": "ADDED", "object": body})
        try:
            while True:
                event = await queue.get()
                await response.write(json.dumps(event).encode() + b"\n")
                if event is GONE:
                    return response
        finally:
            self._watches[kind].discard(queue)

    def _create(self, kind: str) -> Any:
        async def handle(request: web.Request) -> web.Response:
            body = await request.json()
            if self._named(kind, body["metadata"]["name"]) is not None:
                return web.json_response({"message": "already exists"}, status=409)
            uid = f"uid-of-{body['metadata']['name']}"
            self.put(kind, {**body, "metadata": {**body["metadata"], "uid": uid}})
            return web.json_response(self.objects[kind][uid], status=201)

        return handle

    def _get(self, kind: str) -> Any:
        async def handle(request: web.Request) -> web.Response:
            found = self._named(kind, request.match_info["name"])
            return web.json_response(found or {"message": "not found"}, status=200 if found else 404)

        return handle

    def _named(self, kind: str, name: str) -> Body | None:
        return next((body for body in self.objects[kind].values() if body["metadata"]["name"] == name), None)

    async def _post(self, request: web.Request) -> web.Response:
        self.posted.append(await request.json())
        return web.json_response({}, status=201)


def _selected(body: Body, request: web.Request) -> bool:
    namespace = request.match_info.get("namespace", body["metadata"]["namespace"])
    wanted = {tuple(each.split("=")) for each in request.query.get("labelSelector", "").split(",") if each}
    labelled = wanted <= body["metadata"].get("labels", {}).items()
    return labelled and body["metadata"]["namespace"] == namespace


def _answer(content: Body) -> Any:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(content)

    return handle
