"""Verification: is a generation's final answer the reference answer?

A new verifier is one module with a class like `Verifier`, and one line in `VERIFIERS`. The filter and eval stages use
the same ones.
"""

from collections.abc import Mapping

from distill_runtime.verification.math_answers import MathAnswers
from distill_runtime.verification.pool import Question, verify_all
from distill_runtime.verification.verifier import Reason, Verdict, Verifier

VERIFIERS: Mapping[str, Verifier] = {
    "math-verify": MathAnswers(),
}

__all__ = ["VERIFIERS", "Question", "Reason", "Verdict", "Verifier", "verify_all"]
