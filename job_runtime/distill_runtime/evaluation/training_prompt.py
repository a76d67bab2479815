"""The system prompt that a student was trained with, as far as the volume still tells."""

from distill_runtime.contract import ArtifactReference
from distill_runtime.evaluation.training_data import packed_data
from distill_runtime.storage.volume import Volume


def training_prompt(weights: ArtifactReference, volume: Volume) -> str | None:
    """Follow the weights to their packed data; None if that is not there any more, or was packed elsewhere.

    What is read may be of another version: it is a hint for a message, and nothing depends on it.
    """
    packed = packed_data(weights, volume)
    pack = packed.parameters.get("pack") if packed is not None else None
    prompt = pack.get("systemPrompt") if isinstance(pack, dict) else None
    return prompt if isinstance(prompt, str) else None
