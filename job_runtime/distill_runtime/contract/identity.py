"""What an artifact depends on: the part of a contract that two requests for the same artifact have in common.

The operator names an artifact's directory by a hash of it, so that the same inputs find what is already there; the
runtime compares it before it goes on with what another Pod began.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class _Operational:
    """Marks a field."""


OPERATIONAL: Final = _Operational()
"""Annotates a field that says who asks or how something is come by, such as a time-out, and not what it is."""


@dataclass(frozen=True)
class FirstDefault:
    """Annotates a field whose default has been changed, with the one that it had when it was added.

    That one is left out of identities for ever: what was asked when it was the default has it written out by now.
    """

    value: object


def identity(model: BaseModel) -> dict[str, object]:
    """Give, as JSON, the fields of `model` that determine the artifact, at every level.

    Left out are operational fields, and those with their first default: a parameter that a later version adds must not
    give another identity to what was asked before there was one.
    """
    found: dict[str, object] = {}
    for name, field in type(model).model_fields.items():
        value = _json(getattr(model, name))
        if OPERATIONAL not in field.metadata and value != first_default(field):
            found[name] = value
    return found


def first_default(field: FieldInfo) -> object:
    """Give, as JSON, the value with which a field is no part of an identity; of a block what it sets itself."""
    default = field.get_default(call_default_factory=True)
    first = next((mark.value for mark in field.metadata if isinstance(mark, FirstDefault)), default)
    if isinstance(first, BaseModel):
        return {name: value for name, value in identity(first).items() if name in first.model_fields_set}
    return _json(first)


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
