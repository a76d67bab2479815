"""Judging a journal: each line once, and after a crash what the crash has left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distill_runtime.client.journal import Journal
from distill_runtime.client.values import Answer, Failure, Reply, Request, request_key
from distill_runtime.evaluation.judging import VERDICTS_NAME, Judging
from distill_runtime.evaluation.score import Sample
from distill_runtime.verification.text_answers import ExactAnswers

LINES = 4
JUDGE = {"judge": "1"}
REFERENCES = {f"u{number}": str(number) for number in range(LINES)}


class Counting(ExactAnswers):
    """Counts what it is asked about; texts are found in this process."""

    extracted = 0

    def extract(self, text: str) -> str | None:
        Counting.extracted += 1
        return super().extract(text)


def write_journal(path: Path) -> None:
    """Answer all problems but the last, which is failed; the second is answered wrong and cut off."""
    with Journal(path) as journal:
        for number in range(LINES):
            request = Request(request_key(f"u{number}", 0), {}, {"uuid": f"u{number}", "sample": 0})
            if number == LINES - 1:
                journal.append(Failure(request, "refused", "no", "http://x", 1))
            else:
                said = "7", "length" if number == 1 else "stop"
                text, finish = said if number == 1 else (str(number), said[1])
                journal.append(Answer(request, Reply(text, None, finish, 3, 7, "m"), "http://x", 1, 0.5))


def judge(answers: Path, directory: Path, names: dict[str, str]) -> dict[str, dict[int, Sample]]:
    with Judging(Counting(), 30, names, REFERENCES, answers, directory) as judging:
        judging.finish(lambda: None)
    assert judging.counts == {"judged": 4, "correct": 2, "truncated": 1, "unanswered": 1}
    assert judging.metrics == {"scoreSoFar": 50.0}
    return judging.samples


def cut_last_line(verdicts: Path) -> None:
    verdicts.write_bytes(verdicts.read_bytes()[:-5])


def break_a_line(verdicts: Path) -> None:
    lines = verdicts.read_bytes().splitlines(keepends=True)
    verdicts.write_bytes(b"".join((*lines[:2], b"{}\n", *lines[3:])))


def of_another_line(verdicts: Path) -> None:
    first, *lines = verdicts.read_bytes().splitlines(keepends=True)
    verdicts.write_bytes(b"".join((first, *reversed(lines))))


@pytest.mark.parametrize(
    ("harm", "judge_after", "again"),
    [
        (lambda _: None, JUDGE, 0),
        (cut_last_line, JUDGE, 0),  # that of the failure, about which nothing is to be found
        (break_a_line, JUDGE, 2),
        (of_another_line, JUDGE, 3),
        (lambda verdicts: verdicts.write_bytes(b""), JUDGE, 3),
        (lambda _: None, {"judge": "2"}, 3),
    ],
)
def test_verdicts_are_taken_over_as_far_as_they_are_about_the_answers(
    tmp_path: Path, harm: Callable[[Path], None], judge_after: dict[str, str], again: int
) -> None:
    answers = tmp_path / "answers.jsonl"
    write_journal(answers)
    first = judge(answers, tmp_path, JUDGE)
    assert first["u1"] == {0: Sample(0, "incorrect", "7", "length", 7)}
    assert first["u3"] == {0: Sample(0, None, None, None)}
    harm(tmp_path / VERDICTS_NAME)
    Counting.extracted = 0
    assert judge(answers, tmp_path, judge_after) == first
    assert Counting.extracted == again
    assert len((tmp_path / VERDICTS_NAME).read_bytes().splitlines()) == LINES + 1


def test_unfinished_reasoning_is_no_answer_once_another_shows_that_the_prompt_opens_it(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    with Journal(answers) as journal:
        for number, (text, finish) in enumerate((("0", "length"), ("let me</think>1", "stop"))):
            request = Request(request_key(f"u{number}", 0), {}, {"uuid": f"u{number}", "sample": 0})
            journal.append(Answer(request, Reply(text, None, finish, 3, 7, "m"), "http://x", 1, 0.5))
    for _ in range(2):  # the second time with the verdicts of the first
        with Judging(ExactAnswers(), 30, JUDGE, REFERENCES, answers, tmp_path) as judging:
            judging.finish(lambda: None)
        assert judging.samples["u0"][0].reason == "noAnswer"
        assert judging.counts["correct"] == 1
