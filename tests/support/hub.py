"""A Hugging Face hub on loopback with one data set: as much of its API as reading files takes."""

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Repository:
    """A data set at one revision, for whoever has the token."""

    name: str
    files: Mapping[str, bytes]
    revision: str = "main"
    token: str = ""


class Handler(BaseHTTPRequestHandler):
    """The API; a subclass says which repository."""

    protocol_version = "HTTP/1.1"
    repository: Repository

    def do_GET(self) -> None:
        name, revision, files = self.repository.name, self.repository.revision, self.repository.files
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if self.repository.token and self.headers.get("Authorization") != f"Bearer {self.repository.token}":
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif path in (f"/api/datasets/{name}", f"/api/datasets/{name}/revision/{revision}"):
            self._json({"id": name, "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/datasets/{name}/tree/{revision}"):
            self._tree(path.removeprefix(f"/api/datasets/{name}/tree/{revision}").strip("/"))
        elif path.startswith(f"/datasets/{name}/resolve/{revision}/"):
            self._file(files[path.split(f"/resolve/{revision}/")[1]])
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        self._json([self._entry(name) for name in form.get("paths", []) if name in self.repository.files])

    def _entry(self, name: str) -> dict[str, Any]:
        return {"type": "file", "oid": "0" * 40, "size": len(self.repository.files[name]), "path": name}

    def _tree(self, directory: str) -> None:
        inside = [name for name in sorted(self.repository.files) if not directory or name.startswith(f"{directory}/")]
        if inside:
            self._json([self._entry(name) for name in inside])
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _file(self, content: bytes) -> None:
        start, end = 0, len(content)
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
        self._answer(206 if asked else 200, content[start:end], {"X-Repo-Commit": COMMIT, "ETag": '"0"'})

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def hub(served: Repository) -> Iterator[str]:
    """Serve a data set; gives the endpoint's URL."""

    class Bound(Handler):
        repository = served

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
