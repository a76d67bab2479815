"""From the next token's logits to the next token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SamplingParameters:
    """How to sample.

    Attributes:
        temperature: 0 takes the most likely token always.
        top_p: the smallest set of tokens with this much probability in all is sampled from.
    """

    temperature: float
    top_p: float


def next_token(logits: NDArray[np.float32], parameters: SamplingParameters, random: np.random.Generator) -> int:
    """Sample a token.

    Args:
        logits: float32 (vocabulary,).
    """
    if parameters.temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64) / parameters.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    if parameters.top_p < 1:
        probabilities = keep_nucleus(probabilities, parameters.top_p)
    return int(random.choice(len(probabilities), p=probabilities))


def keep_nucleus(probabilities: NDArray[np.float64], top_p: float) -> NDArray[np.float64]:
    """Keep the most likely tokens until they have `top_p` of the probability (Holtzman et al. 2020), renormalised.

    The token that crosses the threshold is kept, so at least one is. Of equally likely ones the lowest id goes first.
    """
    order = np.argsort(-probabilities, kind="stable")
    cumulative = np.cumsum(probabilities[order])
    kept = order[: int(np.searchsorted(cumulative, top_p)) + 1]
    nucleus = np.zeros_like(probabilities)
    nucleus[kept] = probabilities[kept]
    nucleus /= nucleus.sum()
    return nucleus
