r"""Whether anybody asks for the `\boxed{}` in which somebody looks for the answer.

A box that no prompt asks for costs points, or the answers of a night, and nothing fails: it has to be said.
"""

from collections.abc import Iterable
from typing import Final

_BOX: Final = "\\boxed"
_LOOKING_FOR_BOXES: Final = ("math-verify", "majority")
"""Verifiers that find the answer nowhere else."""


def asks_for_box(prompts: Iterable[str]) -> bool:
    """Tell whether one of these has a box in it."""
    return any(_BOX in prompt for prompt in prompts)


def unasked_box(verifier: str, prompts: Iterable[str]) -> str | None:
    """Give a warning where the verifier looks for a box and none of the prompts asks for one.

    The problems themselves may; nobody has looked at them.
    """
    if verifier not in _LOOKING_FOR_BOXES or asks_for_box(prompts):
        return None
    return f"warning: no prompt asks for \\boxed{{}}, in which {verifier} looks for the answer"


def one_sided_box(trained_with: str, asked_with: Iterable[str]) -> str | None:
    """Give a warning where a student is asked for a box and was not trained to give one, or the other way round.

    Args:
        trained_with: the system prompt of its training data.
        asked_with: the prompts of the protocol.
    """
    trained, asked = asks_for_box((trained_with,)), asks_for_box(asked_with)
    if trained == asked:
        return None
    if asked:
        return "warning: the protocol asks for \\boxed{}, and pack.systemPrompt, which it was trained with, does not"
    return "warning: pack.systemPrompt, which it was trained with, asks for \\boxed{}, and the protocol does not"
