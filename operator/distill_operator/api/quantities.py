"""Quantities of Kubernetes: amounts of memory and processors, as text."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

# As Kubernetes parses them (apimachinery's resource.Quantity), without a minus; the chart's schema has the same.
QUANTITY = re.compile(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?")


def checked_quantity(quantity: str) -> str:
    """Give `quantity` back if it is one."""
    if not QUANTITY.fullmatch(quantity):
        raise ValueError(f"{quantity!r} is no quantity of Kubernetes, such as 500m, 16 or 64Gi")
    return quantity


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Amount = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(checked_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": f"^({QUANTITY.pattern})$"}),
]
"""A quantity in a custom resource. YAML reads `cpu: 2` as a number, which Kubernetes takes for one as well."""
