"""The generate stage's artifacts: one a shard, all of which must be there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from distill_runtime.artifact import find_artifact, open_artifact
from distill_runtime.contract import ArtifactReference, FilterContract, shard_output
from distill_runtime.errors import WrongInput
from distill_runtime.rows import GENERATIONS_NAME
from distill_runtime.volume import Volume


@dataclass(frozen=True)
class Shards:
    """All generations, over all shards.

    Attributes:
        references: the artifacts.
        paths: their files of generations, in the same order.
        generations: how many there are in all.
        parameters: the contract of the first; the others differ from it only in which prompts are theirs.
    """

    references: tuple[ArtifactReference, ...]
    paths: tuple[Path, ...]
    generations: int
    parameters: Mapping[str, JsonValue]

    @property
    def have_sources(self) -> bool:
        """Whether the generations say where their prompts come from."""
        prompts = self.parameters.get("prompts")
        return isinstance(prompts, dict) and "sourceColumn" in prompts


def open_shards(contract: FilterContract, volume: Volume) -> Shards:
    """Open every shard.

    Raises:
        WrongInput: ShardMissing, NothingToFilter, or as `artifact.open_artifact`.
    """
    references, paths, parameters, generations = [], [], [], 0
    for index in range(contract.shards):
        uri = shard_output(contract.input, index, contract.shards)
        found = find_artifact(volume, uri)
        if found is None:
            raise WrongInput(
                "ShardMissing",
                f"shard {index} of {contract.shards} of the generate stage is not complete: there is no {uri}; "
                "let generate finish, or correct the number of shards",
            )
        directory, manifest = open_artifact(volume, found[0])
        references.append(found[0])
        paths.append(directory / GENERATIONS_NAME)
        parameters.append(manifest.parameters)
        generations += manifest.counts["generations"]
    if not generations:
        raise WrongInput("NothingToFilter", f"{contract.input} holds no generation; all its shards are empty")
    return Shards(tuple(references), tuple(paths), generations, parameters[0])
