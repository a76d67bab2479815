"""Whether the servers that an object names may be asked: a key and the problems go there."""

import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distill_operator.allowed import allows_url
from distill_operator.api import AnyResource
from distill_operator.plan.stages import Invalid
from distill_operator.settings import Settings
from distill_runtime.contract.parameters.teacher import ENDPOINT


def refuse_endpoints(resource: AnyResource, settings: Settings) -> Invalid | None:
    """Refuse endpoints that whoever installed this operator has not allowed, in whatever field they are."""
    allowed = settings.endpoints.allowed
    refused = [f"{field} {url}" for field, url in endpoints_of(resource.spec, "spec") if not allows_url(allowed, url)]
    if not refused:
        return None
    return Invalid(
        "EndpointNotAllowed",
        f"{', '.join(refused)}: may not be asked; this operator allows {', '.join(allowed) or 'none'}. Create the "
        "object again with one of these, or add it to endpoints.allowed in the chart's values.",
    )


def endpoints_of(model: BaseModel, path: str) -> Iterator[tuple[str, str]]:
    """Give every URL in `model` that is marked as one of a server that is asked, with the path of its field."""
    for name, field in type(model).model_fields.items():
        value, where = getattr(model, name), f"{path}.{field.alias or name}"
        items = value if isinstance(value, tuple) else (value,)
        for item in items:
            if isinstance(item, BaseModel):
                yield from endpoints_of(item, where)
            elif isinstance(item, str) and is_endpoint(field):
                yield where, item


def is_endpoint(field: FieldInfo) -> bool:
    """Tell whether a field, or what is in its list, is marked."""
    return ENDPOINT in field.metadata or _mentions(field.annotation)


def _mentions(annotation: object) -> bool:
    return any(argument == ENDPOINT or _mentions(argument) for argument in typing.get_args(annotation))
