"""The operator: how it starts with a history, takes a burst beside JobSet, and stands Pods that do not answer.

Needs what the local cluster needs, and builds its programs, but runs beside it, or without: each load gets etcd and an
API server of its own, in namespaces where there is nothing else.
"""

import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench import Row
from bench._control_plane import isolated
from bench._controllers import JOBSET, jobset_version
from tests.cluster.build import BUILDS, build, signs_of_life
from tests.cluster.lifecycle import alone
from tests.cluster.prerequisites import CLUSTER_PACKAGES, check_machine, install
from tests.cluster.settings import read_settings

STARTS = {1000: (10, 200), 3000: (30, 400)}
"""Finished objects, and the seconds and megabytes that a start with them may take."""

BURST = 1000
ROUNDS = 3
SILENT_PODS = 500
FIRST_LOOK_SECONDS = 1.0
LEAST_SPEED = 1.5
LARGEST_SHARE_OF_P99 = 0.5
STATUS_WRITES = 2


def measure() -> Iterator[Row]:
    """Measure the three loads, each in namespaces of its own."""
    check_machine()
    settings = read_settings()
    install(CLUSTER_PACKAGES, _say)
    with alone(settings):
        build(settings, _say, (*BUILDS, JOBSET))
    for count, (seconds, megabytes) in STARTS.items():
        yield from _start(_figures("start", count), count, seconds, megabytes)
    yield from _burst([_figures("burst", BURST) for _ in range(ROUNDS)])
    yield _silence(_figures("silence", SILENT_PODS))


def _start(figures: dict[str, Any], count: int, seconds: int, megabytes: int) -> Iterator[Row]:
    name = f"operator: start with {count:,} finished objects"
    _say(f"{name}: each with {figures['history']}")
    taken, peak = figures["seconds"], figures["peak_bytes"] / 1e6
    shown = f"{taken:.1f} s, {figures['processor_seconds']:.1f} CPU-s"
    yield Row(f"{name}: all looked at", shown, "", f"<= {seconds} s", taken <= seconds)
    yield Row(f"{name}: memory", f"{peak:.0f} MB", "", f"<= {megabytes} MB", peak <= megabytes)
    yield Row(f"{name}: writes", f"{figures['writes']}", "", "0", figures["writes"] == 0)


def _burst(rounds: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Medians of rounds in turn; a ratio is the median of the rounds' own."""
    name, peer = f"operator: {BURST:,} objects at once", f"JobSet {jobset_version()}"

    def of(side: str, figure: str) -> float:
        return median(float(figures[side][figure]) for figures in rounds)

    def ratio(figure: str) -> float:
        return median(float(figures["operator"][figure] / figures["jobset"][figure]) for figures in rounds)

    speed, share = ratio("children_a_second"), ratio("p99_seconds")
    writes, most = of("operator", "status_writes"), max(each["operator"]["most_status_writes"] for each in rounds)
    yield Row(
        f"{name}: children a second",
        f"{of('operator', 'children_a_second'):.0f} ({speed:.2f}x)",
        f"{peer} {of('jobset', 'children_a_second'):.0f}",
        f">= {LEAST_SPEED}x",
        speed >= LEAST_SPEED,
    )
    yield Row(
        f"{name}: p50, p99 until the child is seen",
        f"{of('operator', 'p50_seconds'):.1f}, {of('operator', 'p99_seconds'):.1f} s ({share:.2f}x)",
        f"{peer} {of('jobset', 'p50_seconds'):.1f}, {of('jobset', 'p99_seconds'):.1f} s",
        f"p99 <= {LARGEST_SHARE_OF_P99}x",
        share <= LARGEST_SHARE_OF_P99,
    )
    yield Row(
        f"{name}: status writes in an object's first 20 s",
        f"{writes:.2f}, at most {most}",
        f"{peer} {of('jobset', 'status_writes'):.2f}",
        f"at most {STATUS_WRITES}",
        most <= STATUS_WRITES,
    )
    yield Row(
        f"{name}: CPU-s, memory",
        f"{of('operator', 'processor_seconds'):.1f}, {of('operator', 'peak_bytes') / 1e6:.0f} MB",
        f"{peer} {of('jobset', 'processor_seconds'):.1f}, {of('jobset', 'peak_bytes') / 1e6:.0f} MB",
    )


def _silence(figures: dict[str, Any]) -> Row:
    seconds = figures["seconds"]
    return Row(
        f"operator: first look at a new object, {SILENT_PODS} Pods silent",
        f"{seconds[-1]:.2f} s, the worst of {len(seconds)}",
        "",
        f"<= {FIRST_LOOK_SECONDS:g} s",
        seconds[-1] <= FIRST_LOOK_SECONDS,
    )


def _figures(load: str, count: int) -> dict[str, Any]:
    with signs_of_life(f"operator: {load} with {count}", _say):
        figures: dict[str, Any] = isolated("bench._operator_loads", load, str(count))
    return figures


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
