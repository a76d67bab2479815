"""What a value of a row says as a text."""

import math
from decimal import Decimal


def as_text(value: object) -> str | None:
    """Give a value as text if it has an obvious one; answers are often stored as numbers.

    Numbers have no exponent: verifiers would take 1e-05 for a product with e.
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if math.isfinite(value) else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
