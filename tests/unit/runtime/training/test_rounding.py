"""float32 to bfloat16 and float16, bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runtime.training.rounding import TooLarge, round_values

# By hand from the formats: sign, exponent of 8 (float32, bfloat16) or 5 bits (float16), fraction of 23, 7 or 10 bits.
TO_BFLOAT16 = [
    (0x3F800000, 0x3F80),  # 1
    (0xC0200000, 0xC020),  # -2.5
    (0x40490FDB, 0x4049),  # pi, less than half a unit above
    (0x3F80_8000, 0x3F80),  # half a unit above an even one stays
    (0x3F81_8000, 0x3F82),  # half a unit above an odd one goes up
    (0xBF81_8000, 0xBF82),  # away from zero, if it is negative
    (0x3F80_8001, 0x3F81),  # just over half a unit
    (0x3F81_7FFF, 0x3F81),  # just under half a unit
    (0x3FFF_8000, 0x4000),  # up to the next exponent
    (0x0000_0001, 0x0000),  # the smallest one
    (0x0000_8001, 0x0001),  # up to the smallest one of bfloat16
    (0x8000_0000, 0x8000),  # -0
    (0x7F7F_7FFF, 0x7F7F),  # the largest one that is not too large
    (0x7F80_0000, 0x7F80),  # infinity
    (0xFF80_0000, 0xFF80),
    (0x7FC0_0000, 0x7FC0),  # NaN
    (0x7F80_0001, 0x7FC0),  # NaN whose upper half is infinity's
    (0xFFFF_FFFF, 0xFFFF),  # NaN that carries over when something is added
]
TO_FLOAT16 = [
    (0x3F800000, 0x3C00),  # 1
    (0xC0200000, 0xC100),  # -2.5
    (0x3F80_1000, 0x3C00),  # half a unit above an even one stays
    (0x3F80_3000, 0x3C02),  # half a unit above an odd one goes up
    (0x3F80_1001, 0x3C01),  # just over half a unit
    (0x3380_0000, 0x0001),  # 2**-24, the smallest one
    (0x3300_0000, 0x0000),  # 2**-25, half of it, and zero is even
    (0x3300_0001, 0x0001),
    (0x477F_EFFF, 0x7BFF),  # just under 65520, the largest one that is not too large
    (0xFF80_0000, 0xFC00),  # -infinity
]


def rounded(patterns: list[int], dtype: str) -> list[int]:
    content = round_values(np.array(patterns, "<u4").tobytes(), dtype)
    return np.frombuffer(content, "<u2").tolist()


@pytest.mark.parametrize(("dtype", "table"), [("BF16", TO_BFLOAT16), ("F16", TO_FLOAT16)])
def test_a_table_made_by_hand(dtype: str, table: list[tuple[int, int]]) -> None:
    assert rounded([value for value, _ in table], dtype) == [half for _, half in table]


def test_what_is_not_a_number_stays_so_in_float16() -> None:
    halves = np.array(rounded([0x7FC0_0000, 0x7F80_0001, 0xFFFF_FFFF], "F16"), np.uint16)
    assert np.isnan(halves.view(np.float16)).all()


@settings(max_examples=300)
@given(st.floats(width=32, min_value=-(2.0**127), max_value=2.0**127))
def test_no_bfloat16_is_nearer(value: float) -> None:
    bits = int(np.float32(value).view(np.uint32))
    (half,) = rounded([bits], "BF16")

    def distance(pattern: int) -> float:
        return abs(float(np.uint32(pattern << 16).view(np.float32)) - value)

    below = bits >> 16  # the fraction cut off: the nearest one towards zero
    assert half in (below, below + 1)
    other = below if half != below else below + 1
    assert distance(half) < distance(other) or (distance(half) == distance(other) and half % 2 == 0)


@pytest.mark.parametrize(
    ("pattern", "dtype", "said"),
    [(0x477F_F000, "F16", "65520"), (0xC77F_F000, "F16", "-65520"), (0x7F7F_8000, "BF16", "3.39618e+38")],
)
def test_a_finite_value_does_not_become_infinite(pattern: int, dtype: str, said: str) -> None:
    with pytest.raises(TooLarge) as refused:
        rounded([0x3F800000, pattern], dtype)
    assert str(refused.value) == said
