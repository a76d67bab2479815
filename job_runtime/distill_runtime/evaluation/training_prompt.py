"""The system prompt that a student was trained with, as far as the volume still tells."""

from distill_runtime.contract import ArtifactReference
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.artifact import find_artifact
from distill_runtime.storage.volume import Volume


def training_prompt(weights: ArtifactReference, volume: Volume) -> str | None:
    """Follow the weights to their packed data; None if that is not there any more, or was packed elsewhere.

    What is read may be of another version: it is a hint for a message, and nothing depends on it.
    """
    trained = find_artifact(volume, weights.uri)
    for data in trained[1].inputs if trained is not None else ():
        try:
            packed = find_artifact(volume, data.uri)
        except WrongInput:  # something else is there by now
            continue
        pack = packed[1].parameters.get("pack") if packed is not None and packed[0].digest == data.digest else None
        prompt = pack.get("systemPrompt") if isinstance(pack, dict) else None
        if isinstance(prompt, str):
            return prompt
    return None
