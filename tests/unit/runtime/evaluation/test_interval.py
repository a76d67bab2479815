"""Wilson's interval against published values."""

import pytest

from distill_runtime.evaluation.interval import wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # MATH-500 at 90 %.
        (450, 500, 0.8706, 0.9233),
    ],
)
def test_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes / trials, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_edges_are_exact() -> None:
    assert wilson_interval(0.0, 250)[0] == 0.0
    assert wilson_interval(1.0, 250)[1] == 1.0


@pytest.mark.parametrize(("share", "trials"), [(0.5, 0), (1.5, 10), (-0.1, 10)])
def test_what_is_no_proportion_is_refused(share: float, trials: int) -> None:
    with pytest.raises(ValueError, match=r"trial|between 0 and 1"):
        wilson_interval(share, trials)
