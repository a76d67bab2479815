"""Prompts that are others than those that were asked: answers to these are never taken for answers to them."""

from collections.abc import Iterator
from pathlib import Path

from distill_runtime.client.adoption import count_strangers
from distill_runtime.client.values import Request
from distill_runtime.contract import GenerateContract, InputFingerprint
from distill_runtime.contract.artifact import PARTIAL_SUFFIX
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import find_artifact, recorded_inputs
from distill_runtime.storage.fingerprints import Change, changes
from distill_runtime.storage.inputs import input_changed


def refuse_changed_prompts(
    contract: GenerateContract, context: StageContext, journal: Path, requests: Iterator[Request]
) -> None:
    """Make sure that what was asked belongs to what would be asked now.

    A single shard goes on where the source has only grown or been reordered, since all its answers are still answers
    to a row. Rows are dealt to several shards by their place, so that these must all have been asked of one content.

    Args:
        journal: of this shard; it may not be there yet.

    Raises:
        WrongInput: InputChanged.
    """
    own = recorded_inputs(journal.parent)
    if contract.shards > 1:
        for recorded in _recorded_by_shards(contract, context):
            if changed := changes(recorded, context.fingerprints):
                raise input_changed(f"{contract.output} was begun", changed)
    if own == context.fingerprints or not journal.exists():
        return
    if strangers := count_strangers(journal, requests):
        changed = changes(own, context.fingerprints) or [_unknown(prompts) for prompts in context.fingerprints]
        raise input_changed(
            f"{contract.output} was begun ({strangers} answers are of rows that it has no more)", changed
        )


def _recorded_by_shards(contract: GenerateContract, context: StageContext) -> Iterator[tuple[InputFingerprint, ...]]:
    """Read of what content each shard was asked that has begun."""
    for directory in context.volume.resolve(contract.output).glob(f"shard-*-of-{contract.shards:05}*"):
        if directory.name.endswith(PARTIAL_SUFFIX):
            yield recorded_inputs(directory)
        elif (found := find_artifact(context.volume, context.volume.relative(directory))) is not None:
            yield found[1].fingerprints


def _unknown(now: InputFingerprint) -> Change:
    return Change(now.model_copy(update={"value": "not recorded by an earlier version"}), now)
