"""Preference pairs: to one prompt an answer that is kept, and one that is wrong, as trainers of preferences read them.

The columns `prompt`, `chosen` and `rejected` are conversations, in TRL's preference format with an explicit prompt
(https://huggingface.co/docs/trl/dataset_formats). Wrong is what has another answer or none that can be found; what was
cut off, never answered or could not be judged says nothing about which answer is better.

A prompt's kept answers and its wrong ones, each in the order of their generations, are put together one by one, so
that no answer is in two pairs. Wrong ones that are the same letter by letter count once. What the wrong ones say is
read from the source once more, since rejects do not have it; which pairs there are is found from a few numbers an
answer.
"""

from array import array
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill_runtime.filtering.generations import Generations, Place
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.release import MESSAGE
from distill_runtime.filtering.selection import KEY, key_of, select
from distill_runtime.foundation.texts import text_fingerprint
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines

PREFERENCES_DIRECTORY: Final = "preferences"
"""Directory of a filter artifact that has the pairs: a data set of its own."""

_WRONG: Final = frozenset({"incorrect", "noAnswer"})
_ROWS_AT_ONCE: Final = 64
"""Pairs of a row group, which is in memory while it is written: two long answers each."""
_SCHEMA: Final = pa.schema(
    [
        ("uuid", pa.string()),
        ("source", pa.string()),
        ("chosen_generation", pa.int64()),
        ("rejected_generation", pa.int64()),
        ("prompt", pa.list_(MESSAGE)),
        ("chosen", pa.list_(MESSAGE)),
        ("rejected", pa.list_(MESSAGE)),
    ]
)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers in a file, a line each: what is known of each, and where its line begins."""

    path: Path
    keys: Keys
    offsets: "array[int]"


def write_preferences(source: Generations, kept: Path, rejects: Path, most: int, work: Path, directory: Path) -> int:
    """Write the pairs, and give their number; where there are none, nothing is written.

    Args:
        source: all generations.
        kept, rejects: files of what became of them.
        most: pairs of a prompt.
        work: directory for what is needed meanwhile.
        directory: to write to.
    """
    chosen, wrong = _read_kept(kept, work / "chosen.keys"), _read_wrong(source, rejects, work)
    pairs = choose_pairs(chosen.keys, wrong.keys, most)
    if len(pairs):
        directory.mkdir(exist_ok=True)
        path = directory / "train-00000.parquet"
        with (
            pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer,
            chosen.path.open("rb") as right,
            wrong.path.open("rb") as left,
        ):
            rows = (_row(_line(right, chosen, place), _line(left, wrong, other)) for place, other in pairs)
            while group := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(group, schema=_SCHEMA))
    return len(pairs)


def choose_pairs(chosen: Keys, wrong: Keys, most: int) -> NDArray[np.int64]:
    """Choose the pairs.

    Args:
        chosen, wrong: `KEY`s of the answers.
        most: pairs of a prompt.

    Returns:
        Shape (pairs, 2): the place of the chosen answer and that of the wrong one, by the former.
    """
    repeats = select(wrong, "all", None) != 0
    found = [np.zeros((0, 2), np.int64)]
    number = max(chosen.fitting_parts, wrong.fitting_parts)
    for (rows, part), (others, other_part) in zip(chosen.parts(number), wrong.parts(number), strict=True):
        distinct = ~repeats[others]
        ranked = _ranked(other_part[distinct], others[distinct], most)
        of_chosen = _ranked(part, rows, most)
        found.append(
            np.array([(of_chosen[each], ranked[each]) for each in of_chosen.keys() & ranked.keys()] or found[0])
        )
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 0])]


def _ranked(part: NDArray[np.void], rows: NDArray[np.int64], most: int) -> dict[tuple[int, int], int]:
    """Give the row of each prompt's first, second … answer, up to so many."""
    order = np.lexsort((part["generation"], part["prompt"]))
    prompts = part["prompt"][order]
    starts = np.searchsorted(prompts, prompts)
    ranks = np.arange(len(order)) - starts
    return {
        (int(prompt), int(rank)): int(row)
        for prompt, rank, row in zip(prompts, ranks, rows[order], strict=True)
        if rank < most
    }


def _read_kept(kept: Path, path: Path) -> _Answers:
    offsets, start = array("q"), 0
    with GrowingFile(path, 0) as keys:
        for line, following in read_lines(kept):
            row = orjson.loads(line)
            keys.append(key_of(row["uuid"], row["generation"], row["messages"][-1]["content"], row.get("tokens")))
            offsets.append(start)
            start = following
    return _Answers(kept, Keys(path, KEY), offsets)


def _read_wrong(source: Generations, rejects: Path, work: Path) -> _Answers:
    """Read again what the wrong generations say."""
    wanted = {
        _fingerprint(row["uuid"], row["generation"], row["position"])
        for row in (orjson.loads(line) for line, _ in read_lines(rejects))
        if row["reason"] in _WRONG
    }
    offsets = array("q")
    with GrowingFile(work / "wrong.jsonl", 0) as texts, GrowingFile(work / "wrong.keys", 0) as keys:
        for each in source.read(Place()):
            if not each.truncated and _fingerprint(each.uuid, each.number, each.position) in wanted:
                offsets.append(texts.size)
                texts.append(json_line({"generation": each.number, "text": each.text}))
                keys.append(key_of(each.uuid, each.number, each.text, each.tokens))
    return _Answers(work / "wrong.jsonl", Keys(work / "wrong.keys", KEY), offsets)


def _fingerprint(uuid: str, generation: int, position: int) -> int:
    """Name a generation; rows with the same uuid may both have a first one."""
    return text_fingerprint(f"{position}:{generation}:{uuid}")


def _line(file: IO[bytes], answers: _Answers, place: int) -> dict[str, Any]:
    file.seek(answers.offsets[place])
    row: dict[str, Any] = orjson.loads(file.readline())
    return row


def _row(kept: dict[str, Any], wrong: dict[str, Any]) -> dict[str, Any]:
    return {
        "uuid": kept["uuid"],
        "source": kept.get("source"),
        "chosen_generation": kept["generation"],
        "rejected_generation": wrong["generation"],
        "prompt": kept["messages"][:-1],
        "chosen": kept["messages"][-1:],
        "rejected": [{"role": "assistant", "content": wrong["text"]}],
    }
