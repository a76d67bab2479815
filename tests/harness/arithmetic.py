"""The arithmetic example: its setup, its three custom resources, and how to follow them."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.installation import REPOSITORY
from tests.harness.kubectl import Kubectl, condition

EXAMPLE = REPOSITORY / "examples/arithmetic"
NAMESPACE = "distill-demo"
KINDS = ("distilldataset", "finetunerun", "evalrun")
NAME = "arithmetic"

Say = Callable[[str], None]


class StalledError(Exception):
    """An object stopped for good; the message is its own."""


def set_up(kubectl: Kubectl, say: Say) -> None:
    """Create namespace, claim and teacher, and write the inputs into the claim."""
    say(f"setting up namespace {NAMESPACE}: claim, rule-based teacher, inputs")
    for manifest in sorted((EXAMPLE / "setup").glob("*.yaml")):
        kubectl("apply", "-f", manifest)
    kubectl("rollout", "status", "deployment", "-n", NAMESPACE, "--timeout=180s", timeout=200)
    kubectl("wait", "job", "--all", "--for=condition=Complete", "-n", NAMESPACE, "--timeout=180s", timeout=200)


def apply(kubectl: Kubectl, example: Path = EXAMPLE) -> None:
    """Apply the three custom resources, in one call."""
    kubectl("apply", "-f", example)


def follow(kubectl: Kubectl, say: Say, seconds: float) -> None:
    """Say how the three objects stand whenever that changes, until all are Ready.

    Raises:
        StalledError: one of them is Stalled.
        TimeoutError: they are not Ready after `seconds`.
    """
    end, said = time.monotonic() + seconds, dict.fromkeys(KINDS, "")
    while True:
        resources = {kind: kubectl.get(kind, NAME, NAMESPACE) for kind in KINDS}
        for kind, resource in resources.items():
            ready = condition(resource, "Ready")
            line = f"{ready.get('reason', 'New')}: {ready.get('message', 'not reconciled yet')}"
            if line != said[kind]:
                said[kind] = line
                say(f"{resource['kind']} {line}")
            if condition(resource, "Stalled").get("status") == "True":
                raise StalledError(f"{resource['kind']} {NAME}: {line}")
        if all(condition(resource, "Ready").get("status") == "True" for resource in resources.values()):
            return
        if time.monotonic() > end:
            raise TimeoutError(f"not Ready after {seconds:g} s")
        time.sleep(2)
