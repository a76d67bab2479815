"""kubectl, as a user would run it, with answers as values."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

Answer = TypeVar("Answer")

PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""Far more than anything takes that surely comes: machines differ."""


class CommandError(Exception):
    """A command failed; the message is what it printed."""


class NotYetError(Exception):
    """Something did not come true in time; the message says what, and how it stood at the end."""


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl and other clients of one cluster; `environment` is laid over the process' own."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        """Run a program and give what it printed.

        Raises:
            CommandError: it ended with another code than 0.
        """
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def __call__(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl with `arguments`."""
        return self.run("kubectl", *arguments, stdin=stdin, timeout=timeout)

    @contextmanager
    def running(self, *arguments: str, stdout: IO[str]) -> Iterator[None]:
        """Let kubectl run beside the block, printing into a file."""
        process = subprocess.Popen(["kubectl", *arguments], env={**os.environ, **self.environment}, stdout=stdout)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """Apply manifests in one call."""
        return self(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        )

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """Give one object."""
        found: dict[str, Any] = json.loads(self("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def list(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Give the objects of a kind, those with the labels of `selector` if it is given."""
        words = ["get", kind, "-n", namespace, "-o", "json", *(["-l", selector] if selector else [])]
        items: list[dict[str, Any]] = json.loads(self(*words))["items"]
        return items

    def exists(self, kind: str, name: str, namespace: str) -> bool:
        """Tell whether an object is there."""
        return bool(self("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name").strip())


def eventually(ask: Callable[[], Answer | None], what: str, seconds: float = PATIENCE_SECONDS) -> Answer:
    """Ask until the answer is neither None nor False, and give it. A command that fails is no answer yet.

    Raises:
        NotYetError: that took longer than `seconds`.
    """
    end, failed = time.monotonic() + seconds, ""
    while True:
        try:
            answer = ask()
        except CommandError as error:
            answer, failed = None, f"; the last command that failed: {error}"
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise NotYetError(f"not within {seconds:g} s: {what}{failed}")
        time.sleep(PAUSE_SECONDS)


def condition(resource: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Give a condition of an object; an empty one while it has none of that type."""
    conditions: Iterable[dict[str, Any]] = resource.get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})
