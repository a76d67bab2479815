"""Resuming: the scan of a journal, and a generate stage that is killed again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench import Row
from bench._client_loads import MODEL
from bench._fast_teacher import fast_teacher
from bench._processes import run
from distill_runtime.client.journal import Journal, read_records
from distill_runtime.client.values import Answer, Reply, Request, request_key

LINES = 10_000
ANSWER_BYTES = 34_000
SCAN_FASTER = 2
KILLS = 20
PROMPTS = 2_000
IN_FLIGHT = 20


def measure() -> Iterator[Row]:
    """Measure both."""
    with tempfile.TemporaryDirectory() as directory:
        yield resume_scan(Path(directory) / "journal.jsonl")
    with tempfile.TemporaryDirectory() as directory:
        yield kill_again_and_again(Path(directory))


def resume_scan(path: Path) -> Row:
    """Open a journal of long answers, and read the same file as a script would that parses each line."""
    reply = Reply("4", "step " * (ANSWER_BYTES // 5), "stop", 20, ANSWER_BYTES // 5, MODEL)
    with Journal(path) as journal:
        for number in range(LINES):
            request = Request(request_key(str(number), 0), {}, {"uuid": str(number), "generation": 0})
            journal.append(Answer(request, reply, "http://localhost/v1", 1, 1.0))
    ours, plain = run(scan_with_ours, path), run(scan_plainly, path)
    assert ours.result == plain.result == LINES
    ratio = plain.processor_seconds / ours.processor_seconds
    return Row(
        f"resume: CPU-s to scan {LINES} x {ANSWER_BYTES // 1000} KB",
        f"{ours.processor_seconds:.2f} (1/{ratio:.1f})",
        f"json.loads of each line {plain.processor_seconds:.2f}",
        f"<= 1/{SCAN_FASTER} of the peer",
        ratio >= SCAN_FASTER,
    )


def scan_with_ours(path: Path) -> int:
    with Journal(path) as journal:
        return journal.tally.outcomes


def scan_plainly(path: Path) -> int:
    with path.open() as file:
        return len({json.loads(line)["uuid"] for line in file})


def kill_again_and_again(volume: Path) -> Row:
    """Run generate and kill it, twenty times at random moments; then let it end."""
    with (volume / "prompts.jsonl").open("w") as file:
        file.writelines(json.dumps({"problem": f"problem {number}", "answer": "4"}) + "\n" for number in range(PROMPTS))
    moments = random.Random(0)
    kills = 0
    with fast_teacher("--delay", "0.05") as url:
        contract = {
            "stage": "generate",
            "output": "out",
            "prompts": {"uri": "prompts.jsonl"},
            "teacher": {"endpoints": [url], "model": MODEL, "maxConcurrentRequests": IN_FLIGHT},
        }
        (volume / "contract.json").write_text(json.dumps(contract))
        while kills < KILLS:
            process, before = start(volume), requests(url)
            moment = before + moments.randint(1, PROMPTS // KILLS - IN_FLIGHT)
            while process.poll() is None and requests(url) < moment:
                time.sleep(0.001)
            process.kill()
            kills += process.wait() == -signal.SIGKILL
        assert start(volume).wait() == 0
        asked = requests(url)
    records = list(read_records(volume / "out" / "shard-00000-of-00001" / "generations.jsonl"))
    lost = PROMPTS - len({record["key"] for record in records if record["failure"] is None})
    twice = asked - PROMPTS
    return Row(
        f"resume: kill -9 x {KILLS}, {IN_FLIGHT} in flight: lost, asked twice",
        f"{lost}, {twice}",
        "",
        f"0, <= {KILLS * IN_FLIGHT}",
        lost == 0 and twice <= KILLS * IN_FLIGHT,
    )


def start(volume: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "distill_runtime", "generate", "--contract", str(volume / "contract.json")]
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [*command, "--volume", str(volume)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def requests(url: str) -> int:
    with urllib.request.urlopen(f"{url}/models") as response:
        return int(json.load(response)["requests"])
