"""Generate beside an endpoint that fails, in each of four ways, against the healthy one alone in the same run."""

import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import Row
from bench._client_loads import MODEL
from bench._fast_teacher import fast_teacher
from distill_runtime.cli import UNITS
from distill_runtime.contract import GenerateContract
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import generate
from distill_runtime.storage.volume import Volume

PROMPTS = range(1, 101, 11)
"""How many there are: the last ones are what a failing endpoint keeps, and those are all that a small run has."""
IN_FLIGHT = 8
ROUNDS = 3
LIMIT = 1.2


def measure() -> Iterator[Row]:
    """Measure each way to fail, with the failing endpoint first."""
    with fast_teacher("--delay", "0.05", "--kilobytes", "1") as healthy:
        for name, failing in (
            ("dead", dead()),
            ("hanging", hanging()),
            ("429-only", only(429)),
            ("500-only", only(500)),
        ):
            with failing as url:
                yield beside(name, url, healthy)


def beside(name: str, failing: str, healthy: str) -> Row:
    """Run generate with one endpoint and with both in turns, so that what else the machine does falls on both."""
    ratios, lost = [], 0
    for _ in range(ROUNDS):
        (alone, _), (both, missing) = map(generate_all, ([healthy], [failing, healthy]))
        ratios.append(both / alone)
        lost += missing
    ratio = statistics.median(ratios)
    return Row(
        f"endpoints: generate beside one that is {name}: times as long, rows lost",
        f"{ratio:.2f}x, {lost}",
        "the healthy one alone 1.00x",
        f"<= {LIMIT}x, 0",
        ratio <= LIMIT and lost == 0,
    )


def generate_all(endpoints: list[str]) -> tuple[float, int]:
    """Generate data sets of several sizes; give the seconds that it took, and how many generations have no answer."""
    begun, lost = time.monotonic(), 0
    for number in PROMPTS:
        with tempfile.TemporaryDirectory() as directory:
            lost += number - generate_one(Path(directory), number, endpoints)
    return time.monotonic() - begun, lost


def generate_one(volume: Path, number: int, endpoints: list[str]) -> int:
    """Generate a data set; give its answers."""
    rows = ({"problem": f"problem {index}", "answer": "4"} for index in range(number))
    (volume / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    contract = GenerateContract.model_validate(
        {
            "output": "out",
            "prompts": {"uri": "prompts.jsonl"},
            "teacher": {"endpoints": endpoints, "model": MODEL, "maxConcurrentRequests": IN_FLIGHT},
        }
    )
    context = StageContext(Volume(volume), Reporter("generate", UNITS["generate"]))
    return run_stage(generate, contract, context).counts["answered"]


@contextmanager
def dead() -> Iterator[str]:
    """Give the URL of a port that nobody listens to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


@contextmanager
def hanging() -> Iterator[str]:
    """Give the URL of a port that takes connections, by the kernel's hand, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


@contextmanager
def only(status: int) -> Iterator[str]:
    """Give the URL of a server that lists its models, and answers everything else with a status."""
    with fast_teacher("--status", str(status)) as url:
        yield url
