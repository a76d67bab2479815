"""float32 rounded to the halves that models are kept in: to the nearest value, of two equally near ones to the even.

bfloat16 is float32 without the lower 16 bits, so it is a matter of integer arithmetic; numpy has no such type. float16
it has. NaN stays NaN, infinity stays infinity.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGN: Final = np.uint32(0x8000_0000)
_INFINITY: Final = np.uint32(0x7F80_0000)
_QUIET: Final = np.uint16(0x0040)
"""The bit that makes a NaN of a pattern whose other bits may have been cut off."""


class TooLarge(ValueError):  # noqa: N818 - says what the value is
    """A finite value would become infinite; the message has the value."""


def round_values(content: bytes, dtype: str) -> bytes:
    """Round little-endian float32 values.

    Args:
        content: of the values.
        dtype: to round to, F16 or BF16 as safetensors calls them.

    Raises:
        TooLarge: for a finite value that has no finite counterpart.
    """
    values = np.frombuffer(content, "<f4")
    rounded, infinity = _ROUNDINGS[dtype](values)
    overflown = ((rounded & 0x7FFF) == infinity) & np.isfinite(values)
    if overflown.any():
        raise TooLarge(f"{values[overflown.argmax()]:g}")
    return rounded.tobytes()


def widen_values(content: bytes, dtype: str) -> NDArray[np.float32]:
    """Give little-endian values of F32, F16 or BF16 as float32, which has all of them."""
    if dtype == "BF16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(content, {"F32": "<f4", "F16": "<f2"}[dtype]).astype("<f4", copy=False)


def _to_bfloat16(values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
    bits = values.view("<u4")
    # Just under half a unit of what is kept, and a whole half if that is odd: a tie goes up then, and stays otherwise.
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    not_a_number = (bits & ~_SIGN) > _INFINITY
    rounded[not_a_number] = (bits[not_a_number] >> 16).astype("<u2") | _QUIET
    return rounded, 0x7F80


def _to_float16(values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
    with np.errstate(over="ignore"):  # looked for by the caller
        return values.astype("<f2").view("<u2"), 0x7C00


_ROUNDINGS: Final[Mapping[str, Callable[[NDArray[np.float32]], tuple[NDArray[np.uint16], int]]]] = {
    "BF16": _to_bfloat16,
    "F16": _to_float16,
}
