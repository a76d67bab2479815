"""The command line of the local cluster: `python -m tests.cluster COMMAND`."""

import argparse
import sys
import time
from collections.abc import Callable

from .build import build
from .errors import ClusterError
from .images import SHIPPED, build_images, shipped_tag
from .lifecycle import alone, down, load, up
from .processes import running
from .report import report
from .settings import read_settings


def main() -> int:
    """Runs one command; what it says goes to stderr, so that stdout has only results."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the cluster's programs into the cache")
    commands.add_parser("up", help="bring the cluster up, building what is not built")
    commands.add_parser("down", help="take the cluster down and leave nothing")
    commands.add_parser("status", help="print programs, nodes, Pods that do not run, and how to reach the cluster")
    commands.add_parser("images", help="build the images, load them into the nodes if they are up, print their tag")
    arguments = parser.parse_args()
    say = speaker()
    try:
        settings = read_settings()
        match arguments.command:
            case "build":
                with alone(settings):
                    build(settings, say)
            case "up":
                up(settings, say)
            case "down":
                down(settings, say)
            case "status":
                print(report(settings))
            case "images":
                with alone(settings):
                    images = build_images(settings, SHIPPED, say)
                    if running():
                        load(settings, images, say)
                print(shipped_tag())
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def speaker() -> Callable[[str], None]:
    """Returns what says a line with the seconds since now before it."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {line}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
