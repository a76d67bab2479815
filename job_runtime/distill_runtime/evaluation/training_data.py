"""What weights were trained on, as far as the volume still tells: a manifest names what it was made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from distill_runtime.contract import ArtifactReference, Manifest
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import KEPT_NAME
from distill_runtime.storage.artifact import find_artifact, open_artifact
from distill_runtime.storage.resumable import read_lines
from distill_runtime.storage.volume import Volume


@dataclass(frozen=True)
class TrainingRows:
    """The rows that weights were trained on.

    Attributes:
        reference: the artifact that they are in, of filter or select.
        path: their file.
    """

    reference: ArtifactReference
    path: Path

    def prompts(self) -> Iterator[tuple[str, str]]:
        """Give each row's uuid and prompt, a line at a time.

        Raises:
            WrongInput: ArtifactDamaged.
        """
        for line, end in read_lines(self.path):
            try:
                match orjson.loads(line):
                    case {"uuid": str(uuid), "prompt": str(prompt)}:
                        yield uuid, prompt
                        continue
            except orjson.JSONDecodeError:
                pass
            raise WrongInput("ArtifactDamaged", f"{self.path.name} has no row in the line that ends at byte {end}")


def packed_data(weights: ArtifactReference, volume: Volume) -> Manifest | None:
    """Follow weights to the packed data that they were trained on; None if it is not there any more."""
    trained = find_artifact(volume, weights.uri)
    if trained is None or trained[0].digest != weights.digest:
        return None
    for data in trained[1].inputs:
        try:
            packed = find_artifact(volume, data.uri)
        except WrongInput:  # something else is there by now
            continue
        if packed is not None and packed[0].digest == data.digest and packed[1].stage == "pack":
            return packed[1]
    return None


def training_rows(weights: ArtifactReference | None, volume: Volume) -> TrainingRows | str:
    """Follow weights to the rows that were packed, or say why there are none to be looked at."""
    if weights is None:
        return "the model is not known to be that of a FinetuneRun"
    try:
        packed = packed_data(weights, volume)
        if packed is None:
            return f"the data that {weights.uri} was trained on is not on the claim any more"
        if not packed.inputs:
            return f"{weights.uri} was trained on data that was packed elsewhere, of which there are only tokens"
        rows = packed.inputs[0]
        directory, manifest = open_artifact(volume, rows)
    except WrongInput as gone:
        return gone.message
    if KEPT_NAME not in {file.path for file in manifest.files}:
        return f"{rows.uri} has no {KEPT_NAME}"
    return TrainingRows(rows, directory / KEPT_NAME)
