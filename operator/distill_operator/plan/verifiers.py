"""Whether a verifier may be run on this cluster, and the key of a judge."""

from distill_operator.api.judge import JudgeSpec
from distill_operator.plan.stages import Invalid, SecretVariable
from distill_operator.settings import Settings
from distill_runtime.contract.stages import JUDGE_API_KEY_VARIABLE


def refuse_verifier(entry_point: str | None, field: str, settings: Settings) -> Invalid | None:
    """Refuse to run code that whoever installed this operator has not allowed; generate judges a sample with it too.

    Args:
        entry_point: the function that is to be called, if there is one.
        field: where the spec names it.
    """
    allowed = settings.verifiers.python
    if entry_point is None or entry_point in allowed:
        return None
    return Invalid(
        "VerifierNotAllowed",
        f"{field} {entry_point!r} may not be called; this operator allows {', '.join(allowed) or 'none'}. "
        "Create the object again with one of these or another verifier, or add the function to verifiers.python in "
        "the chart's values.",
    )


def judge_key(judge: JudgeSpec | None) -> tuple[SecretVariable, ...]:
    """Give the key of a judge, if it has one, in a variable of its own: it is sent to no other endpoint."""
    reference = judge.endpoint.api_key_secret_ref if judge is not None else None
    return (SecretVariable(JUDGE_API_KEY_VARIABLE, reference.name, reference.key),) if reference is not None else ()
