"""The generate stage's artifacts: one a shard, all of which must be there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from pydantic import JsonValue

from distill_runtime.contract import ArtifactReference, InputFingerprint, Manifest, TeacherParameters, shard_output
from distill_runtime.filtering.generations import Generation, Place
from distill_runtime.filtering.reasons import FAILED
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.reasoning import joined
from distill_runtime.foundation.rows import CUT_OFF, GENERATIONS_NAME, PROMPTS
from distill_runtime.storage.artifact import find_artifact, open_artifact
from distill_runtime.storage.fingerprints import changes, join_values
from distill_runtime.storage.resumable import read_lines
from distill_runtime.storage.volume import Volume


@dataclass(frozen=True)
class Shards:
    """All generations, over all shards (see `generations.Generations`).

    Attributes:
        references: the artifacts.
        paths: their files of generations, in the same order.
        total: how many generations there are in all.
        origin: the contract of the first; the others differ from it only in which prompts are theirs.
    """

    references: tuple[ArtifactReference, ...]
    paths: tuple[Path, ...]
    total: int
    origin: Mapping[str, JsonValue]
    unit: Final = "generations"
    length_unit: Final = "tokens"

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models that were asked."""
        asked = self.origin.get("teacher")
        return (
            tuple(each.model for each in TeacherParameters.model_validate(asked, extra="ignore").models)
            if asked
            else ()
        )

    def read(self, place: Place) -> Iterator[Generation]:
        """Read from a place on, whose offset is that of a line, in bytes."""
        model = next(iter(self.teachers), None)  # where there are several, each generation says whose it is
        for part in range(place.part, len(self.paths)):
            for line, offset in read_lines(self.paths[part], place.offset if part == place.part else 0):
                yield _generation(line, Place(part, offset), model)

    @property
    def fingerprint(self) -> str:
        """The digests of the artifacts."""
        return " ".join(reference.digest for reference in self.references)

    def identity(self, uri: str) -> InputFingerprint:
        """Tell what they are by their content.

        Args:
            uri: of the directory that holds the shards.
        """
        digests = {f"{number:05}": reference.digest for number, reference in enumerate(self.references)}
        return InputFingerprint(name="generations", uri=uri, value=join_values(digests))

    @property
    def have_sources(self) -> bool:
        """Whether the generations say where their prompts come from."""
        prompts = self.origin.get("prompts")
        return isinstance(prompts, dict) and "sourceColumn" in prompts


def _generation(line: bytes, following: Place, teacher: str | None) -> Generation:
    record = orjson.loads(line)
    failure = record["failure"]
    return Generation(
        uuid=record["uuid"],
        number=record["generation"],
        position=record["position"],
        prompt=record["prompt"],
        answer=record["answer"],
        source=record.get("source"),
        text="" if failure else joined(record["reasoning"], record["content"]),
        tokens=record["completion_tokens"],
        teacher=record.get("teacher", teacher),
        truncated=record["finish_reason"] == CUT_OFF,
        unusable=FAILED if failure else None,
        failure=failure,
        recorded=None,
        next=following,
    )


def open_shards(uri: str, shards: int, volume: Volume) -> Shards:
    """Open every shard of a generate stage's output.

    Raises:
        WrongInput: ShardMissing, ShardsDiffer, NothingToFilter, or as `artifact.open_artifact`.
    """
    references, paths, manifests = [], [], []
    for index in range(shards):
        shard = shard_output(uri, index, shards)
        found = find_artifact(volume, shard)
        if found is None:
            raise WrongInput(
                "ShardMissing",
                f"shard {index} of {shards} of the generate stage is not complete: there is no {shard}; "
                "let generate finish, or correct the number of shards",
            )
        directory, manifest = open_artifact(volume, found[0])
        references.append(found[0])
        paths.append(directory / GENERATIONS_NAME)
        manifests.append(manifest)
    _check_prompts(uri, manifests)
    generations = sum(manifest.counts["generations"] for manifest in manifests)
    if not generations:
        raise WrongInput("NothingToFilter", f"{uri} holds no generation; all its shards are empty")
    return Shards(tuple(references), tuple(paths), generations, manifests[0].parameters)


def _check_prompts(uri: str, manifests: Sequence[Manifest]) -> None:
    """Make sure that all shards were asked the prompts of one source, each its share of them.

    Raises:
        WrongInput: ShardsDiffer.
    """
    prompts = [[each for each in manifest.fingerprints if each.name == PROMPTS] for manifest in manifests]
    first = next((recorded for recorded in prompts if recorded), [])
    for index, recorded in enumerate(prompts):
        for change in changes(first, recorded):
            raise WrongInput(
                "ShardsDiffer",
                f"the shards in {uri} were made of different prompts, so that some are asked twice and others never: "
                f"{change.now.uri} was {change.before.value} for one, and {change.now.value} for shard {index}. Put "
                "the source back as it was, remove the shards that were made of another, and run generate again",
            )
