"""The verifier `python`: a function that the user ships in the runtime image."""

import importlib
import inspect
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.verification.supervision import Supervision


@dataclass(frozen=True, slots=True)
class UserAnswers:
    """Ask `module:function` with the reference answer and the text after the reasoning.

    The module is imported in processes without credentials only; what the function raises counts as crashed.
    """

    entry_point: str

    @classmethod
    def checked(cls, entry_point: str) -> "UserAnswers":
        """Make one of an entry point, once it is sure that there is such a function.

        Raises:
            WrongInput: VerifierMissing.
            Retryable: VerifierPoolBroken.
        """
        verifier = cls(entry_point)
        with closing(Supervision(verifier, timeout_seconds=1, workers=1)):
            return verifier

    def prepare(self) -> None:
        """Import the function, and see that it takes two texts.

        Raises:
            WrongInput: VerifierMissing.
        """
        module, _, name = self.entry_point.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except BaseException as error:
            # A module may raise anything, SystemExit too.
            raise self._missing(f"{error!r}; the runtime image must have a package with it") from error
        if not callable(function):
            raise self._missing("it is not a function")
        try:
            inspect.signature(function).bind("reference", "text")
        except TypeError as error:
            raise self._missing(
                f"it cannot be called with two texts, the reference answer and what follows the reasoning: {error}"
            ) from error
        except ValueError:  # some functions written in C do not say what they take
            pass

    def extract(self, text: str) -> str | None:
        """Give the text after the reasoning; an empty one is no answer."""
        return text_after_reasoning(text).strip() or None

    def compare_quickly(self, reference: str, answer: str) -> None:
        """Decide nothing."""

    def compare(self, reference: str, answer: str) -> bool:
        """Ask the function.

        Raises:
            TypeError: if it returns neither True nor False, nor a number that equals one of them: to take None or a
                text for a verdict would accept, or reject, everything.
        """
        module, _, name = self.entry_point.partition(":")
        function = cast("Callable[[str, str], object]", getattr(importlib.import_module(module), name))
        verdict = function(reference, answer)
        if verdict not in (True, False):
            raise TypeError(f"{self.entry_point} returned {verdict!r:.80}, neither True nor False")
        return bool(verdict)

    def _missing(self, why: str) -> WrongInput:
        return WrongInput("VerifierMissing", f"entryPoint {self.entry_point}: {why}")
