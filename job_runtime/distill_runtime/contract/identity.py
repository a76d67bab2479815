"""What an artifact depends on: the part of a contract that two requests for the same artifact have in common.

The operator names an artifact's directory by a hash of it, so that the same inputs find what is already there; the
runtime compares it before it goes on with what another Pod began.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel


@dataclass(frozen=True)
class _Operational:
    """Marks a field."""


OPERATIONAL: Final = _Operational()
"""Annotates a field that says who asks or how something is come by, such as a time-out, and not what it is."""


def identity(model: BaseModel) -> dict[str, object]:
    """Give, as JSON, the fields of `model` that determine the artifact, at every level.

    Left out are operational fields, and those with their default value: a parameter that a later version adds must not
    give another identity to what was asked before there was one.
    """
    found: dict[str, object] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if OPERATIONAL not in field.metadata and value != field.get_default(call_default_factory=True):
            found[name] = _json(value)
    return found


def _json(value: object) -> object:
    match value:
        case BaseModel():
            return identity(value)
        case dict():
            return {str(name): _json(item) for name, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case _:
            return value
