"""From logits to a token."""

import numpy as np
import pytest

from distill_runtime.serving.sampling import SamplingParameters, keep_nucleus, next_token

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))


def draw(parameters: SamplingParameters, count: int = 4000) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.bincount([next_token(LOGITS, parameters, random) for _ in range(count)], minlength=4) / count


def test_without_temperature_the_most_likely_token_always_wins() -> None:
    assert draw(SamplingParameters(0.0, 0.1)).tolist() == [1, 0, 0, 0]


def test_at_temperature_one_the_model_s_own_distribution_is_drawn_from() -> None:
    assert draw(SamplingParameters(1.0, 1.0)) == pytest.approx(np.exp(LOGITS), abs=0.03)


def test_a_low_temperature_sharpens() -> None:
    expected = np.exp(LOGITS) ** 2
    assert draw(SamplingParameters(0.5, 1.0)) == pytest.approx(expected / expected.sum(), abs=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, [0]), (0.5, [0]), (0.51, [0, 1]), (0.9, [0, 1, 2]), (0.99, [0, 1, 2, 3])]
)
def test_the_token_that_crosses_the_threshold_is_kept(top_p: float, kept: list[int]) -> None:
    nucleus = keep_nucleus(np.array([0.5, 0.3, 0.15, 0.05]), top_p)
    assert np.flatnonzero(nucleus).tolist() == kept
    assert nucleus.sum() == pytest.approx(1)


def test_the_same_seed_draws_the_same_tokens() -> None:
    assert (draw(SamplingParameters(1.0, 0.9), 50) == draw(SamplingParameters(1.0, 0.9), 50)).all()


def test_large_logits_do_not_overflow() -> None:
    assert next_token(np.array([1e4, 1.0], np.float32), SamplingParameters(0.1, 1.0), np.random.default_rng(0)) == 0
