"""The eval stage beside its client alone: what judging, scoring and the reports cost, and whether memory is flat.

Both ask the same requests of the same server and keep the answers in a journal. The answers are integers, which are
judged without a process that verifies: what that costs is `verify`'s to measure. The stage judges, scores and writes
all its reports on top.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import Row
from bench._fast_teacher import MODEL, fast_teacher
from bench._processes import Run, run
from distill_runtime.client.ask import Client
from distill_runtime.client.journal import Journal, read_records
from distill_runtime.contract import Benchmark, EvalContract, PromptSource, Protocol
from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.asking import client_settings, sample_requests
from distill_runtime.evaluation.score import ANSWERS_NAME
from distill_runtime.process import event_loop
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.sources.prompts import open_prompts
from distill_runtime.stages import eval as eval_stage
from distill_runtime.storage.volume import Volume

FEW, MANY = 250, 1_250
"""Problems."""
SAMPLES = 8
ALLOWED = 0.1
"""Of memory, for each byte more of answers."""
TIMES = 2.2
"""How often the client's CPU-seconds the stage may take in all."""


def measure() -> Iterator[Row]:
    """Measure both, each in a process of its own, and the stage with fewer problems as well."""
    with fast_teacher() as url:
        few, _ = taken(evaluate, url, FEW)
        ours, written = taken(evaluate, url, MANY)
        client, _ = taken(ask, url, MANY)
    thousands = MANY * SAMPLES / 1000
    ratio = ours.processor_seconds / client.processor_seconds
    yield Row(
        "eval: CPU-s per 1,000 requests of 16 KB, easy answers",
        f"{ours.processor_seconds / thousands:.3f} ({ratio:.2f}x)",
        f"client alone {client.processor_seconds / thousands:.3f}",
        f"<= {TIMES}x the client",
        ratio <= TIMES,
    )
    share = (ours.peak_bytes - few.peak_bytes) / (written * (1 - FEW / MANY))
    yield Row(
        "eval: memory for each byte more of answers",
        f"{100 * share:.1f} % ({ours.peak_bytes / 1e6:.0f} MB)",
        "",
        f"<= {100 * ALLOWED:.0f} %",
        share <= ALLOWED,
    )


def taken(work: Callable[[str, Path], Path], url: str, problems: int) -> tuple[Run[Path], int]:
    """Run something in a fresh volume; give what it took, and the bytes of the answers that it wrote."""
    with tempfile.TemporaryDirectory() as directory:
        volume = Path(directory)
        with (volume / "problems.jsonl").open("w") as file:
            file.writelines(json.dumps({"problem": f"What is {n}?", "answer": "4"}) + "\n" for n in range(problems))
        done = run(work, url, volume)
        assert sum(1 for _ in read_records(done.result)) == problems * SAMPLES
        return done, done.result.stat().st_size


def contract(url: str) -> EvalContract:
    """Give what both ask."""
    return EvalContract(
        output="score",
        target=EndpointTarget(url=url, model=MODEL),
        benchmark=Benchmark(name="fast", uri="problems.jsonl"),
        protocol=Protocol(samples_per_problem=SAMPLES, max_tokens=16384),
    )


def evaluate(url: str, volume: Path) -> Path:
    """Run the stage; give the file of its answers."""
    asked, context = contract(url), StageContext(Volume(volume), Reporter("eval", "samples"))
    return volume / str(eval_stage.run(asked, context).artifact.uri) / ANSWERS_NAME


def ask(url: str, volume: Path) -> Path:
    """Ask the same with the client alone; give the file of the answers."""
    asked, context = contract(url), StageContext(Volume(volume), Reporter("eval", "samples"))
    prompts = list(open_prompts(PromptSource(uri="problems.jsonl"), context.volume).read(0, 1, frozenset()))

    async def ask_all(journal: Journal) -> None:
        async with Client(client_settings(asked.protocol, context, asked.target)) as client:
            await client.ask_all(sample_requests(asked.protocol, MODEL, prompts), journal.append)

    with Journal(volume / ANSWERS_NAME) as journal:
        event_loop.run(ask_all(journal))
        return journal.path
