"""What a filter and a protocol say of their verifier that the schema alone cannot."""

from distill_operator.api.rules import Rule


def _goes_with(verifier: str, field: str, meaning: str) -> Rule:
    return Rule(
        f"(has(self.verifier) && self.verifier == '{verifier}') == has(self.{field})",
        f"{field} {meaning}: set it with that verifier, and only with it",
        field=field,
    )


VERIFICATION_RULES = (
    _goes_with("regex", "answerPattern", "says what the verifier regex looks for"),
    _goes_with("python", "entryPoint", "names the verifier python's function"),
    Rule(
        "!has(self.tolerance) || (has(self.verifier) && self.verifier == 'numeric')",
        "tolerance says how far the verifier numeric lets an answer be off: set it only with that verifier",
        field="tolerance",
    ),
)
