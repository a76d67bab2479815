"""A Hugging Face hub on loopback with one data set: as much of its API as reading files takes."""

import hashlib
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.local_server import LocalHandler, serve


@dataclass(frozen=True)
class Repository:
    """A data set at one revision, for whoever has the token; of a gated one everybody sees which files there are."""

    name: str
    files: Mapping[str, bytes]
    revision: str = "main"
    token: str = ""
    gated: bool = False
    resolved: list[str] = field(default_factory=list, compare=False)
    """Revisions at which files were read."""

    @property
    def commit(self) -> str:
        """Another one for each content."""
        return _id(b"".join(name.encode() + content for name, content in sorted(self.files.items())))


def _id(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Handler(LocalHandler):
    """The API; a subclass says which repository."""

    repository: Repository

    def do_GET(self) -> None:  # noqa: N802 - named by http.server
        name, files, commit = self.repository.name, self.repository.files, self.repository.commit
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if "/resolve/" in path:
            self.repository.resolved.append(path.split("/resolve/")[1].partition("/")[0])
        path = path.replace(f"/{commit}", f"/{self.repository.revision}")  # a commit is a revision too
        revision = self.repository.revision
        known = self.headers.get("Authorization") == f"Bearer {self.repository.token}" or not self.repository.token
        if not known and not self.repository.gated:
            self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif not known and "/resolve/" in path:
            self.answer(401, b"", {"X-Error-Code": "GatedRepo"})
        elif path in (f"/api/datasets/{name}", f"/api/datasets/{name}/revision/{revision}"):
            self._json({"id": name, "sha": commit, "siblings": []})
        elif path.startswith(f"/api/datasets/{name}/tree/{revision}"):
            self._tree(path.removeprefix(f"/api/datasets/{name}/tree/{revision}").strip("/"))
        elif path.startswith(f"/datasets/{name}/resolve/{revision}/"):
            self._file(files[path.split(f"/resolve/{revision}/")[1]])
        else:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:  # noqa: N802 - named by http.server
        length = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        self._json([self._entry(name) for name in form.get("paths", []) if name in self.repository.files])

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.repository.files[name]
        return {"type": "file", "oid": _id(content), "size": len(content), "path": name}

    def _tree(self, directory: str) -> None:
        inside = [name for name in sorted(self.repository.files) if not directory or name.startswith(f"{directory}/")]
        if inside:
            self._json([self._entry(name) for name in inside])
        else:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _file(self, content: bytes) -> None:
        start, end = 0, len(content)
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
        self.answer(
            206 if asked else 200,
            content[start:end],
            {"X-Repo-Commit": self.repository.commit, "ETag": f'"{_id(content)}"'},
        )

    def _json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def hub(served: Repository) -> Iterator[str]:
    """Serve a data set; gives the endpoint's URL."""

    class Bound(Handler):
        repository = served

    with serve(Bound) as url:
        yield url
