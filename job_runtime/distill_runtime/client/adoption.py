"""Answers that an earlier run with another number of shards left: paid for, and taken over.

With another shard count the same prompts are dealt to other Pods. What they would ask may already be in the journals
of the earlier shards, finished or not, below the same output directory.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from distill_runtime.client.journal import Journal, read_lines
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


def adopt(journal: Journal, earlier: Iterable[Path], keys: Iterator[str]) -> None:
    """Copy into a journal those lines of earlier ones that answer one of its keys."""
    wanted = {int(key, 16) for key in keys if key not in journal}
    for path in earlier:
        adopted = 0
        for key, line in read_lines(path):
            if (number := int(key, 16)) in wanted:
                wanted.remove(number)
                journal.append_line(line)
                adopted += 1
        logger.info("took over %d generations from %s", adopted, path)


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
    """Give what an answer depends on: the source, the teacher's model, the prompt and the sampling."""
    teacher = contract.teacher
    return (
        contract.prompts.model_copy(update={"limit": None}),
        teacher.model,
        teacher.system_prompt,
        teacher.prompt_template,
        teacher.sampling.model_copy(update={"generations_per_prompt": 1}),
    )
