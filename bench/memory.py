"""Memory of filter, select and pack: it must not grow as what they read does.

Four generations of each prompt go through filter; the two that are right and different, half of the rows, through
select; the first right one of each, a quarter of the rows, through pack.

`make bench ONLY=memory ROWS=10000000` measures as many rows as that instead of a million.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from bench import Row
from bench._peak import PeakMemory
from bench._processes import run
from distill_runtime.contract import (
    FilterContract,
    FilterParameters,
    GenerateContract,
    PackContract,
    PackParameters,
    PromptSource,
    SelectContract,
    SelectParameters,
    TeacherParameters,
    parse_contract,
    shard_output,
)
from distill_runtime.contract.parameters import TokenizerSource
from distill_runtime.foundation.rows import GENERATIONS_NAME, KEPT_NAME
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume

FEW = 100_000
MANY = int(os.environ.get("ROWS") or 1_000_000)
GENERATIONS = 4
ALLOWED = 0.12
"""Of memory, for each byte more that a stage reads: to keep the rows, or a set of their hashes, would take more."""

_LENGTHY = "Wait, let me count again. " * 16
"""So that what is read by far outweighs what one run takes more than the next."""

_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Taken:
    """Bytes that a stage read, and those that all its processes together had in memory at most."""

    read: int
    peak: int


def measure() -> Iterator[Row]:
    """Run the stages over few and over many rows."""
    few, many = (run_all(rows) for rows in (FEW, MANY))
    for stage, share in (("filter", 1), ("select", 2), ("pack", GENERATIONS)):
        before, after = few[stage], many[stage]
        more = after.read - before.read
        growth = (after.peak - before.peak) / more
        yield Row(
            f"memory: {stage} of {FEW // share} and {MANY // share} rows",
            f"{before.peak / 1e6:.0f} and {after.peak / 1e6:.0f} MB, {growth:.1%} of {more / 1e6:.0f} MB more to read",
            "",
            f"<= {ALLOWED:.0%}",
            growth <= ALLOWED,
        )


def run_all(rows: int) -> dict[str, Taken]:
    """Give what each stage took."""
    with tempfile.TemporaryDirectory() as directory:
        volume = Path(directory)
        run(write_generations, volume, rows)
        write_tokenizer(volume / "tokenizer")
        filtering = FilterContract(output="filter", input="generate", filter=FilterParameters())
        with PeakMemory() as filter_peak:
            filtered = run(run_stage, volume, filtering.model_dump_json())
        parameters = PackParameters(tokenizer=TokenizerSource(uri="tokenizer"), sequence_length=4096)
        selection = SelectParameters(max_pass_rate=0.9, keep="first", limit=rows)
        selecting = SelectContract(output="select", input=filtered.result, select=selection)
        with PeakMemory() as select_peak:
            selected = run(run_stage, volume, selecting.model_dump_json())
        packing = PackContract(output="pack", input=selected.result, pack=parameters)
        with PeakMemory() as pack_peak:
            run(run_stage, volume, packing.model_dump_json())
        generated, kept, chosen = volume / "generate", volume / "filter", volume / "select"
        return {
            "filter": Taken(bytes_of(generated, GENERATIONS_NAME), filter_peak.bytes),
            "select": Taken(bytes_of(kept, KEPT_NAME), select_peak.bytes),
            "pack": Taken(bytes_of(chosen, KEPT_NAME), pack_peak.bytes),
        }


def bytes_of(directory: Path, name: str) -> int:
    """Give the size of the file of that name below a directory."""
    (path,) = directory.rglob(name)
    return path.stat().st_size


def run_stage(volume: Path, contract_text: str) -> object:
    """Run a stage and give its artifact."""
    from distill_runtime.stages import filter as filter_stage  # noqa: PLC0415 - only what the stage needs
    from distill_runtime.stages import pack, select  # noqa: PLC0415

    contract = parse_contract(contract_text)
    context = StageContext(Volume(volume), Reporter(contract.stage, "rows"))
    stage = {"filter": filter_stage, "select": select, "pack": pack}[contract.stage]
    return stage.run(contract, context).artifact


def write_generations(volume: Path, rows: int) -> None:
    """Write an artifact of the generate stage: four generations of each prompt, one of them wrong, two alike."""
    output = shard_output("generate", 0, 1)
    contract = GenerateContract(
        output=output,
        prompts=PromptSource(uri="prompts.jsonl"),
        teacher=TeacherParameters(endpoints=("http://teacher/v1",), model="teacher"),
    )
    writer = ArtifactWriter(Volume(volume), contract)
    with (writer.directory / GENERATIONS_NAME).open("wb") as file:
        for row in range(rows):
            number, generation = divmod(row, GENERATIONS)
            said = number + 1 if generation else number
            line = {
                "key": f"{row:016x}",
                "failure": None,
                "finish_reason": "stop",
                "prompt_tokens": 10,
                "completion_tokens": 20,
                "attempts": 1,
                "uuid": str(number),
                "generation": generation,
                "position": number,
                "prompt": f"What is {number} + 1?",
                "answer": str(number + 1),
                "reasoning": f"Attempt {min(generation, 2)}: one more. {_LENGTHY}",
                "content": f"\\boxed{{{said}}}",
            }
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    writer.finish({"generations": rows}, {})


def write_tokenizer(directory: Path) -> None:
    """Write a tokenizer of single bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False)])
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": _TEMPLATE,
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
