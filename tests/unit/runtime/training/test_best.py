"""Which checkpoint has the lowest loss."""

import pytest

from distill_runtime.training.best import best_step, smoothed_losses
from distill_runtime.training.training_log import StepRecord


def log(losses: dict[int, float]) -> list[StepRecord]:
    return [StepRecord(step=step, epoch=1, loss=loss, learning_rate=1e-3, seconds=1.0) for step, loss in losses.items()]


@pytest.mark.parametrize(
    ("losses", "steps", "expected"),
    [
        ({1: 4.0, 2: 2.0, 3: 1.0, 4: 3.0}, (2, 4), {2: 3.0, 4: 2.0}),
        ({1: 4.0, 2: 2.0, 3: 1.0}, (3,), {3: 1.5}),  # told to end between two, it is of as many steps as the others
        ({1: 4.0}, (1,), {1: 4.0}),
        ({4: 3.0}, (2, 4), {4: 3.0}),  # of what a volume lost nothing is known
    ],
)
def test_the_loss_of_a_checkpoint_is_that_of_the_steps_up_to_it(
    losses: dict[int, float], steps: tuple[int, ...], expected: dict[int, float]
) -> None:
    assert smoothed_losses(steps, log(losses), window=2) == expected


@pytest.mark.parametrize(("losses", "best"), [({2: 3.0, 4: 2.0, 6: 2.5}, 4), ({2: 1.0, 4: 1.0}, 4), ({}, None)])
def test_the_best_has_the_lowest(losses: dict[int, float], best: int | None) -> None:
    assert best_step(losses) == best
