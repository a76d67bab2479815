"""The kept rows as a data set for others: parquet files and a card, in the layout of the Hugging Face hub."""

import json
from collections.abc import Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from distill_runtime.storage.resumable import read_lines

RELEASE_DIRECTORY = "dataset"

_GROUP_BYTES = 2 << 20
"""JSON of one row group, which is in memory while it is written."""
_FILE_GROUPS = 256
_UNKNOWN_LICENSE = "unknown"
_PRIVATE = ("endpoints", "price", "url")
"""Where a model was served, and for how much, concerns nobody else."""
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_SCHEMA = pa.schema(
    [
        ("uuid", pa.string()),
        ("generation", pa.int64()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("source", pa.string()),
        ("tokens", pa.int64()),
        ("teacher", pa.string()),
        ("decided_by", pa.string()),
        ("messages", pa.list_(MESSAGE)),
    ]
)


def write_release(kept: Path, directory: Path, card: str) -> None:
    """Write the data set.

    Args:
        kept: file of the kept rows, as `rows.kept_row` makes them.
        directory: to write into, whose earlier content is replaced.
        card: the text of its README.md.
    """
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    for left_behind in data.iterdir():
        left_behind.unlink()
    groups = _groups(kept)
    for number in count():
        group = next(groups, None)
        if group is None:
            break
        with pq.ParquetWriter(data / f"train-{number:05}.parquet", _SCHEMA, compression="zstd") as writer:
            for rows in chain([group], islice(groups, _FILE_GROUPS - 1)):
                writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
    (directory / "README.md").write_text(card, encoding="utf-8")


def write_card(
    title: str,
    license_name: str | None,
    counts: Mapping[str, int],
    origin: Mapping[str, JsonValue],
    filter_parameters: Mapping[str, object],
) -> str:
    """Write the data set's card.

    Args:
        license_name: an identifier that the hub knows, such as apache-2.0.
        counts: of the filter's result.
        origin: the contract that the generations were made by, or the source of the rows that came with them.
        filter_parameters: the parameters of the filter.
    """
    whose, made = _describe_origin(origin)
    figures = "\n".join(f"| {name} | {number:,} |" for name, number in counts.items())
    return f"""---
license: {license_name or _UNKNOWN_LICENSE}
task_categories:
- text-generation
---

# {title}

Reasoning {whose}, verified against reference answers by npu-distill.

| Generations | |
|---|---|
{figures}

Each row has the `uuid` of its prompt and the index of its `generation`, `prompt`, the reference `answer`, the prompt's
`source` where that is known, the `teacher` that was asked and the `tokens` of its answer where they were counted, in
`decided_by` who found it right (`rules`, or a `judge` after them), and `messages`: the prompt and what the teacher
wrote, with its reasoning between `<think>` tags.

## How it was made

{made}

{_block("Filter", _without_places(filter_parameters))}
"""


def _describe_origin(origin: Mapping[str, JsonValue]) -> tuple[str, str]:
    """Say whose the reasoning is, and how it was come by."""
    rows, teacher = origin.get("rows"), origin.get("teacher")
    if isinstance(rows, dict):
        return f"of the rows in `{rows['uri']}`", _block("Rows", rows)
    asked = _public(teacher) if isinstance(teacher, dict) else {}
    models = [asked.get("model"), *(each["model"] for each in asked.get("additionalModels", ()))]
    made = f"{_block('Prompts', origin.get('prompts'))}\n\n{_block('Teacher', asked)}"
    return (
        f"of {'the teachers' if len(models) > 1 else 'the teacher'} {', '.join(f'`{each}`' for each in models)}",
        made,
    )


def _public(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what concerns nobody else, of the additional models too; without those nothing is said of them."""
    told = {name: value for name, value in teacher.items() if name not in _PRIVATE}
    if others := told.pop("additionalModels", None):
        told["additionalModels"] = [_public(each) for each in others]
    return told


def _without_places(filter_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where the judge was served."""
    told = dict(filter_parameters)
    if judge := told.get("judge"):
        told["judge"] = {**judge, "endpoint": _public(judge["endpoint"])}
    return told


def _block(title: str, value: object) -> str:
    return f"{title}:\n\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def _groups(kept: Path) -> Iterator[list[dict[str, object]]]:
    rows: list[dict[str, object]] = []
    size = 0
    for line, _ in read_lines(kept):
        rows.append(orjson.loads(line))
        size += len(line)
        if size >= _GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
