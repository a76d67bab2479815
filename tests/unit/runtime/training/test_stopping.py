"""All workers stop after the same step, whoever asked and when."""

from pathlib import Path

from distill_runtime.training.stopping import Stopping


def test_nobody_stops_unasked(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    assert stopping.after() is None  # before anything is there
    stopping.answer(1)
    stopping.reset()
    stopping.answer(2)
    assert stopping.after() is None


def test_the_first_answer_holds_for_everybody(tmp_path: Path) -> None:
    Stopping(tmp_path / "shared").reset()
    asking, answering, another = (Stopping(tmp_path / "shared") for _ in range(3))
    asking.request()
    assert another.after() is None
    answering.answer(7)
    asking.request()
    answering.answer(8)
    assert (another.after(), asking.after()) == (7, 7)


def test_the_next_attempt_begins_unasked(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    stopping.request()
    stopping.answer(1_000_000)
    stopping.reset()
    stopping.answer(3)
    assert stopping.after() is None
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {13}  # written in place
