"""A server beside a stage: which one, with which command, and the container that it runs in.

It is a sidecar in Kubernetes' sense (an init container with restartPolicy Always): the kubelet starts it again whenever
it ends, and ends it when the stage has. Three things are not as sidecars usually are:

- It has no startup probe. With one the stage's container would not be started before the server answers, so nobody in
  the Pod could tell why it does not: a server that cannot start would be started again for ever, its devices held, and
  its last words would go with the Pod. Nor could the kubelet probe it: it listens on the loopback interface, so that
  what it serves is nobody else's. The stage waits instead, and gives up after `startSeconds` or several ends in a row.
- Its command is wrapped (`SCRIPT`), which writes its output to a file that the stage copies to the claim, beside a
  record of its starts and ends. A pipe into tee would give tee's exit code; a tee beside the server as process 1 would
  be killed with the last lines.
- It sees the claim read-only: what it is, is somebody else's program.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from distill_operator.api.common import Accelerator, Serve
from distill_operator.plan.stages import Invalid, Sidecar, find_profile
from distill_operator.settings import PodSettings, Profile, Server, Settings
from distill_runtime.contract.stages import OWN_SERVER, SERVER_OUTPUT_PATH, VOLUME_PATH, ServerBeside

Manifest = dict[str, Any]

PROMPT_ROOM = 4096
"""Tokens that a prompt may have beside an answer of protocol.maxTokens."""
WRITABLE = "/tmp"  # noqa: S108 - the emptyDir mounted there
TERMINATION_PATH = "/dev/termination-log"
RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Security context of every container, before what is configured: it meets Pod Security restricted."""
SCRIPT = f"""\
output=$1; shift
touch "$output/log"
before=`wc -c <"$output/log"`
echo started >>"$output/history"
"$@" >>"$output/log" 2>&1 & server=$!
trap 'kill -TERM "$server"' TERM INT
tail -c "+`expr $before + 1`" -f --pid="$server" "$output/log" & shown=$!
while :; do wait "$server"; code=$?; kill -0 "$server" 2>/dev/null || break; done
echo "ended $code" >>"$output/history"
tail -c 2000 "$output/log" >{TERMINATION_PATH}
wait "$shown"
exit "$code"
"""
"""What runs a server's command: forwards SIGTERM to it, ends with its exit code, and shows its output as its own too.

`wait` returns early when a signal is forwarded, so it is called until there is no such process any more. Backquotes, as
the kubelet would take `$(...)` for a variable of its own.
"""


def _definition(name: str, server: Server) -> str:
    """Tell one version of a server from another. Of ours the stage records the packages' versions instead."""
    if name == OWN_SERVER and not server.image:
        return ""
    started_by = server.model_dump(mode="json", include={"command", "env"})
    digest = hashlib.sha256(json.dumps(started_by, sort_keys=True).encode()).hexdigest()
    return f"{server.image or 'the image of its devices'}, command and environment sha256:{digest[:12]}"


def longest_sequence(max_tokens: int, positions: float | None) -> int:
    """Give how many tokens a prompt and its answer have at most, of a model with so many positions if that is known."""
    wanted = max_tokens + PROMPT_ROOM
    return wanted if positions is None else min(wanted, int(positions))


@dataclass(frozen=True)
class Devices:
    """What serves a model: so many devices of a profile, and a server with words of the object's own."""

    count: int
    profile: Profile
    name: str
    args: tuple[str, ...]
    server: Server

    @property
    def described(self) -> ServerBeside:
        """What the stage is told of the server beside it."""
        return ServerBeside(
            name=self.name,
            args=self.args,
            definition=_definition(self.name, self.server),
            health_path=self.server.health_path,
            start_seconds=self.server.start_seconds,
            output=SERVER_OUTPUT_PATH,
        )

    @property
    def url(self) -> str:
        """Base URL at which the stage asks it."""
        return f"http://127.0.0.1:{self.server.port}/v1"

    def sidecar(self, uri: str, name: str, max_length: int, requests_at_once: int) -> Sidecar:
        """Give the server with its command filled in.

        Args:
            uri: of the model, on the claim.
            name: that it is served under.
            max_length: of a prompt and its answer together, in tokens.
        """
        values = {
            "model": f"{VOLUME_PATH}/{uri}",
            "name": name,
            "port": self.server.port,
            "devices": self.count,
            "deviceTarget": self.profile.device_target,
            "maxLength": max_length,
            "maxConcurrentRequests": requests_at_once,
        }
        command = self.server.command_line({name: str(value) for name, value in values.items()})
        return Sidecar(self.server, (*command, *self.args))


def find_devices(settings: Settings, accelerator: Accelerator, serve: Serve | None) -> Devices | Invalid:
    """Give what the configuration has for an accelerator and a server, or say what it has not."""
    profile = find_profile(settings, accelerator)
    if isinstance(profile, Invalid):
        return profile
    name = serve.server if serve is not None else profile.server
    server = settings.servers.get(name)
    if server is None:
        known = ", ".join(sorted(settings.servers)) or "none"
        return Invalid(
            "UnknownServer",
            f"serve.server {name!r} is not configured; this operator has {known}. "
            "Create the object again with one of these, or add the server to the chart's values.",
        )
    return Devices(accelerator.devices_per_node, profile, name, serve.args if serve is not None else (), server)


def server_settings(profile: PodSettings, server: Server) -> PodSettings:
    """Give what is configured for the server's container: that of its devices, and over it what the server needs."""
    return profile.model_copy(
        update={
            "image": server.image or profile.image,
            "resources": server.resources or profile.resources,
            "container_security_context": {**profile.container_security_context, **server.container_security_context},
        }
    )


def server_container(name: str, beside: Sidecar, image: str, pull_policy: str, env: list[Manifest]) -> Manifest:
    """Give the server's container, without what its accelerator profile adds."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "restartPolicy": "Always",
        "command": ["sh", "-c", SCRIPT, name, SERVER_OUTPUT_PATH],
        "args": list(beside.command),
        "workingDir": WRITABLE,
        "env": [{"name": "HOME", "value": WRITABLE}, *env],
        "resources": {},
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": dict(RESTRICTED),
        "volumeMounts": [
            {"name": "volume", "mountPath": VOLUME_PATH, "readOnly": True},
            {"name": "server-tmp", "mountPath": WRITABLE},
            OUTPUT_MOUNT,
        ],
    }


OUTPUT_MOUNT: Manifest = {"name": "server-output", "mountPath": SERVER_OUTPUT_PATH}
VOLUMES: tuple[Manifest, ...] = (
    {"name": "server-tmp", "emptyDir": {}},
    {"name": "server-output", "emptyDir": {}},
)
"""Of the Pod: what the server may write to alone, and what the stage reads of it."""
