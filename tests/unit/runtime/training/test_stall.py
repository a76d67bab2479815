"""When silence is too long, on a clock of the test's own."""

import pytest

from distill_runtime.training.stall import ALLOWANCES, Allowances, StallWatch

ALLOWED = Allowances(first=100, checkpoint=60, least=8, factor=5)


def watch(*steps: tuple[int, float], every: int = 4, last: int = 20) -> tuple[StallWatch, float]:
    """Follow steps of so many seconds each; gives the time of the last."""
    watched, now = StallWatch(began=0.0, saved_every=every, last_step=last, allowances=ALLOWED), 0.0
    for number, seconds in steps:
        now += seconds
        watched.step(number, seconds, now)
    return watched, now


@pytest.mark.parametrize(
    ("steps", "allowed"),
    [
        ([], 100),  # starting and compiling
        ([(1, 40.0)], 60),  # what the first step took is no measure
        ([(1, 40.0), (2, 3.0)], 15),
        ([(1, 40.0), (2, 3.0), (3, 3.0)], 15),
        ([(1, 40.0), (2, 1.0), (3, 1.0)], 8),  # the least
        ([(1, 40.0), (2, 3.0), (3, 3.0), (4, 3.0)], 60),  # a first checkpoint
        ([(1, 40.0), (2, 3.0), (3, 3.0), (4, 3.0), (5, 7.0)], 15),  # which is not taken for a step
        ([(1, 40.0), (2, 3.0), (3, 3.0), (4, 3.0), (5, 7.0), (6, 3.0), (7, 3.0), (8, 3.0)], 35),  # a second
        ([(5, 9.0), (6, 3.0), (7, 90.0), (8, 3.0), (9, 6.0), (10, 3.0)], 15),  # one slow step is not the rule
        ([(18, 40.0), (19, 3.0), (20, 3.0)], 60),  # the last one saves
    ],
)
def test_so_long_may_pass_without_a_step(steps: list[tuple[int, float]], allowed: float) -> None:
    watched, now = watch(*steps)
    assert watched.overdue(now + allowed) is None
    assert watched.overdue(now + allowed + 0.1) is not None


def test_it_says_since_when() -> None:
    assert watch()[0].overdue(101) == "no step for 101 s since the workers started"
    watched, now = watch((1, 40.0), (2, 3.0), (3, 3.0))
    assert watched.overdue(now + 20) == "no step for 20 s after step 3; steps take 3.0 s"
    watched, now = watch((7, 40.0), (8, 3.0))
    assert watched.overdue(now + 61) == (
        "no step for 61 s after step 8, at which a checkpoint is saved; steps take 3.0 s"
    )


def test_a_step_begins_the_count_anew() -> None:
    watched, now = watch((1, 40.0), (2, 3.0))
    watched.step(3, 14.0, now + 14)
    assert watched.overdue(now + 28) is None


def test_compiling_is_not_a_hang() -> None:
    assert ALLOWANCES["Ascend"].first > 1200  # HCCL_CONNECT_TIMEOUT of the shipped profiles


@pytest.mark.parametrize(
    ("steps", "patience"),
    [([], 16), ([(1, 40.0)], 16), ([(1, 40.0), (2, 3.0)], 10), ([(1, 40.0), (2, 9.0), (3, 9.0)], 18)],
)
def test_a_step_that_is_to_be_saved_is_not_waited_for_as_long(steps: list[tuple[int, float]], patience: float) -> None:
    watched, now = watch(*steps)
    for since in (now, now + 30):
        assert watched.steps_on(since, since + patience)
        assert not watched.steps_on(since, since + patience + 0.1)
    assert watched.steps_on(0, now + patience)
