"""Verification: is a generation's final answer the reference answer?

A new verifier is one module with a class like `Verifier`, and one line here. The filter and eval stages use the same
ones.
"""

from collections.abc import Mapping

from distill_runtime.contract import Tolerance, Verification
from distill_runtime.verification.choice_answers import ChoiceAnswers
from distill_runtime.verification.math_answers import MathAnswers
from distill_runtime.verification.numeric_answers import NumericAnswers
from distill_runtime.verification.pool import Question, verify_all
from distill_runtime.verification.text_answers import AnyAnswer, ExactAnswers, PatternAnswers
from distill_runtime.verification.user_answers import UserAnswers
from distill_runtime.verification.verifier import Reason, Verdict, Verifier
from distill_runtime.verification.workers import verifier_workers

VERIFIERS: Mapping[str, Verifier] = {
    "math-verify": MathAnswers(),
    "exact": ExactAnswers(),
    "choice": ChoiceAnswers(),
    "majority": MathAnswers(),
    "recorded": AnyAnswer(),
    "none": AnyAnswer(),
}
"""Those that need to be told nothing. With `recorded`, what the rows call wrong is rejected before it is verified,
with `majority` what has no elected answer (see `filtering.majority`)."""


def open_verifier(parameters: Verification) -> Verifier:
    """Give the verifier that a filter or a protocol asks for.

    Raises:
        WrongInput: InvalidPattern or VerifierMissing.
        Retryable: VerifierPoolBroken.
    """
    if parameters.answer_pattern is not None:
        return PatternAnswers.checked(parameters.answer_pattern)
    if parameters.entry_point is not None:
        return UserAnswers.checked(parameters.entry_point)
    if parameters.verifier == "numeric":
        return NumericAnswers(parameters.tolerance or Tolerance())
    return VERIFIERS[parameters.verifier]


__all__ = ["VERIFIERS", "Question", "Reason", "Verdict", "Verifier", "open_verifier", "verifier_workers", "verify_all"]
