"""CEL rules: what the API server itself refuses, with a message that names the field and the remedy."""

from dataclasses import dataclass

from pydantic.config import JsonDict, JsonValue

from distill_runtime.contract.parameters import URL_SCHEMES


@dataclass(frozen=True)
class Rule:
    """One `x-kubernetes-validations` entry.

    `expression` is CEL over `self` (and `oldSelf` for transitions). `field` is the property that the error is
    reported at, below the object that carries the rule.
    """

    expression: str
    message: str
    field: str | None = None

    def to_schema(self) -> dict[str, str]:
        """Give the entry as the CRD schema wants it."""
        entry = {"rule": self.expression, "message": self.message}
        return entry if self.field is None else {**entry, "fieldPath": f".{self.field}"}


def immutable(kind: str, *fields: str) -> tuple[Rule, ...]:
    """Rules by which `fields` of a spec stay as they were created: inputs are fixed, as a Job's template is."""
    return tuple(
        Rule(
            expression=f"has(self.{field}) == has(oldSelf.{field})"
            f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
            message=f"spec.{field} is immutable: create a new {kind} to change it",
            field=field,
        )
        for field in fields
    )


def exactly_one_of(owner: str, *fields: str) -> Rule:
    """Rule by which just one of the optional `fields` of `owner` is set."""
    present = ", ".join(f"has(self.{field})" for field in fields)
    names = ", ".join(fields)
    return Rule(f"[{present}].exists_one(set, set)", f"{owner}: set exactly one of {names}")


def is_source(uri: str) -> str:
    """Give the expression by which `uri`, an expression itself, is a path on the claim or a URL that can be read."""
    return f"(!{uri}.contains('://') || {uri}.matches('^({'|'.join(URL_SCHEMES)})://'))"


NO_SOURCE = f"uri must be a path on the claim, or a URL that begins with one of {', '.join(URL_SCHEMES)}"


def with_rules(*rules: Rule) -> JsonDict:
    """`json_schema_extra` of a model that carries `rules`."""
    return {"x-kubernetes-validations": [dict[str, JsonValue](rule.to_schema()) for rule in rules]}
