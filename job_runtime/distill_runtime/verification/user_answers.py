"""The verifier `python`: a function that the user ships in the runtime image."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.reasoning import text_after_reasoning


@dataclass(frozen=True, slots=True)
class UserAnswers:
    """Ask `module:function` with the reference answer and the text after the reasoning.

    It runs in worker processes, with the limits of every verifier; what it raises counts as crashed.
    """

    entry_point: str

    @classmethod
    def checked(cls, entry_point: str) -> "UserAnswers":
        """Make one of an entry point, once it is sure that there is such a function.

        Raises:
            WrongInput: VerifierMissing.
        """
        _load(entry_point)
        return cls(entry_point)

    @property
    def preload(self) -> tuple[str, ...]:
        """The module that the function is in."""
        return (self.entry_point.partition(":")[0],)

    def extract(self, text: str) -> str | None:
        """Give the text after the reasoning; an empty one is no answer."""
        return text_after_reasoning(text).strip() or None

    def compare_quickly(self, reference: str, answer: str) -> None:
        """Decide nothing."""

    def compare(self, reference: str, answer: str) -> bool:
        """Ask the function."""
        return bool(_load(self.entry_point)(reference, answer))


def _load(entry_point: str) -> Callable[[str, str], object]:
    module, _, name = entry_point.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise WrongInput(
            "VerifierMissing", f"entryPoint {entry_point}: {error}; the runtime image must have a package with it"
        ) from error
    if not callable(function):
        raise WrongInput("VerifierMissing", f"entryPoint {entry_point} is not a function")
    return cast("Callable[[str, str], object]", function)
