"""Artifacts: directories on the volume, described by `manifest.json`, which is written last.

A stage writes into `<output>.partial`, writes the manifest there, and renames the directory to `<output>`. So a
directory without the suffix is complete by construction. The digest of an artifact is the sha256 of the bytes of
its manifest, which in turn lists the sha256 of every file.
"""

from typing import Annotated

from pydantic import Field, JsonValue

from distill_runtime.contract.base import Model
from distill_runtime.contract.comparison import Judgement

Sha256 = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]

MANIFEST_NAME = "manifest.json"
PARTIAL_SUFFIX = ".partial"


def shard_output(output: str, index: int, shards: int) -> str:
    """Give the directory, below `output`, of the artifact that one shard of a stage writes."""
    return f"{output}/shard-{index:05}-of-{shards:05}"


class ArtifactFile(Model):
    """One file of an artifact."""

    path: str = Field(description="Path relative to the artifact's directory, with forward slashes.")
    bytes: int = Field(ge=0, description="Size in bytes.")
    sha256: Sha256 = Field(description="Digest of the content.")


class ArtifactReference(Model):
    """Where an artifact is and what it must be: a consumer refuses one whose digest differs."""

    uri: str = Field(description="Path of the directory, relative to the volume.")
    digest: Sha256 = Field(description="sha256 of the artifact's manifest.json.")


class InputFingerprint(Model):
    """What tells the content of an input from any other that might be at the same place."""

    name: str = Field(description="What it is to the stage: prompts, rows, benchmark, tokenizer, model, endpoint …")
    uri: str = Field(description="Where it is, as the contract names it.")
    value: str = Field(description="What was there: a digest, or what a server says of it.")


class Manifest(Model):
    """The content of `manifest.json`."""

    stage: str = Field(description="Stage that wrote the artifact.")
    files: tuple[ArtifactFile, ...] = Field(description="Every file but the manifest itself, sorted by path.")
    counts: dict[str, int] = Field(
        default_factory=dict, description="What went in, what came out, and what was rejected, by reason."
    )
    parameters: dict[str, JsonValue] = Field(default_factory=dict, description="The contract that the stage ran with.")
    inputs: tuple[ArtifactReference, ...] = Field(default=(), description="The artifacts that it read.")
    fingerprints: tuple[InputFingerprint, ...] = Field(
        default=(), description="What all its inputs were, artifacts or not; empty if an earlier version wrote it."
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured figures, such as the loss.")
    judgement: Judgement | None = Field(default=None, description="What the stage compare found.")
    versions: dict[str, str] = Field(default_factory=dict, description="Versions of the packages that matter.")
