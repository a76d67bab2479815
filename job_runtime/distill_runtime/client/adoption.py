"""Answers that an earlier run left: paid for, and taken over where they are answers to what would be asked now.

With another shard count the same prompts are dealt to other Pods. What they would ask may already be in the journals
of the earlier shards, finished or not, below the same output directory.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from distill_runtime.client.journal import Journal, read_lines, read_records
from distill_runtime.client.values import Request
from distill_runtime.contract import GenerateContract, Manifest
from distill_runtime.contract.artifact import MANIFEST_NAME, PARTIAL_SUFFIX
from distill_runtime.storage.artifact import partial_parameters

logger = logging.getLogger(__name__)


def earlier_journals(contract: GenerateContract, output: Path, journal_name: str) -> list[Path]:
    """Find the journals of shards of another count that asked the same questions of the same teacher.

    Args:
        output: directory that holds the shards.
        journal_name: name of the journal in a shard's directory.
    """
    found = []
    for directory in sorted(output.glob("shard-*-of-*")):
        earlier = _contract_of(directory)
        journal = directory / journal_name
        if (
            earlier is not None
            and earlier.shards != contract.shards
            and _question(earlier) == _question(contract)
            and journal.is_file()
        ):
            found.append(journal)
    return found


def adopt(journal: Journal, earlier: Iterable[Path], requests: Iterable[Request]) -> None:
    """Copy into a journal those lines of earlier ones that are outcomes of one of its requests."""
    wanted = _subjects(request for request in requests if request.key not in journal)
    for path in earlier:
        adopted = 0
        for key, line in read_lines(path):
            if (number := int(key, 16)) in wanted and _subject(orjson.loads(line)) == wanted[number]:
                del wanted[number]
                journal.append_line(line)
                adopted += 1
        logger.info("took over %d generations from %s", adopted, path)


def count_strangers(path: Path, requests: Iterable[Request]) -> int:
    """Count the outcomes in a journal that are of none of these requests: their rows are others now, or gone."""
    subjects = _subjects(requests)
    return sum(subjects.get(int(record["key"], 16)) != _subject(record) for record in read_records(path))


def _subjects(requests: Iterable[Request]) -> dict[int, int]:
    """Give for the key of each request what its outcome is about, in 64 bits each."""
    return {int(request.key, 16): _subject(request.record) for request in requests}


def _subject(record: Mapping[str, Any]) -> int:
    """Shorten what of its row an outcome copies, except for its place, to 64 bits."""
    copied = orjson.dumps([record["uuid"], record["prompt"], record["answer"], record.get("source")])
    return int.from_bytes(hashlib.blake2b(copied, digest_size=8).digest(), "little")


def _contract_of(directory: Path) -> GenerateContract | None:
    """Read what a shard's directory was made with; None if it cannot be told."""
    try:
        if directory.name.endswith(PARTIAL_SUFFIX):
            content = partial_parameters(directory)
            return None if content is None else GenerateContract.model_validate_json(content)
        manifest = Manifest.model_validate_json((directory / MANIFEST_NAME).read_bytes())
        return GenerateContract.model_validate(manifest.parameters)
    except (FileNotFoundError, ValidationError):
        return None


def _question(contract: GenerateContract) -> object:
    """Give what an answer depends on: the source, the teachers' models and shares, the prompt and the sampling."""
    teacher = contract.teacher
    return (
        contract.prompts.model_copy(update={"limit": None}),
        [(each.model, each.weight) for each in teacher.models],
        teacher.system_prompt,
        teacher.prompt_template,
        teacher.few_shot,
        teacher.sampling.model_copy(update={"generations_per_prompt": 1}),
    )
