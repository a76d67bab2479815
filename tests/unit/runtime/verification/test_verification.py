"""Verifying many generations: every one gets a verdict and a reason, in order, and a hostile one fails alone."""

import gc
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill_runtime.foundation.errors import Retryable
from distill_runtime.verification import VERIFIERS, Question, Verdict, verify_all
from distill_runtime.verification.math_answers import MathAnswers

RIGHT = ("10", r"<think>is it \boxed{11}?</think> It is \boxed{\frac{20}{2}}.")


def verdicts(questions: list[tuple[str, str]], timeout_seconds: float = 60) -> list[Verdict]:
    asked = [Question(index, reference, text) for index, (reference, text) in enumerate(questions)]
    results = list(verify_all(VERIFIERS["math-verify"], asked, timeout_seconds, workers=2))
    assert [index for index, _ in results] == list(range(len(questions)))
    return [verdict for _, verdict in results]


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"$\sqrt{2}$", "2^{1/2}", True),
        (r"The result is $7$", "7", True),
        (r"\boxed{x+1}", "1+x", True),
        (r"x \in (1, 2)", "(1,2)", True),
        ("B", r"\text{B}", True),
        ("B", "C", False),
        ("x=5", "5", True),
        ("2x+z=1", "1", False),  # the reference comes first: it is not symmetric
        ("1", "2x+z=1", True),
    ],
)
def test_math_verify_compares(reference: str, answer: str, equal: bool) -> None:
    assert MathAnswers().compare(reference, answer) is equal


def test_every_generation_gets_a_verdict_in_order() -> None:
    assert verdicts([RIGHT, ("11", RIGHT[1]), ("10", "ten"), (r"\sqrt{2}", r"\boxed{2^{1/2}}")]) == [
        Verdict("correct", r"\frac{20}{2}"),
        Verdict("incorrect", r"\frac{20}{2}"),
        Verdict("noAnswer"),
        Verdict("correct", "2^{1/2}"),
    ]


def test_answers_that_never_end_fail_alone() -> None:
    poison = [("1", r"\boxed{9^{9^{9^{9}}}}"), ("1", r"\boxed{1000000000!}")]
    results = verdicts([RIGHT, *poison, RIGHT, *poison, (r"\sqrt{2}", r"\boxed{2^{1/2}}")], timeout_seconds=5)
    reasons = [verdict.reason for verdict in results]
    assert reasons == ["correct", "timeout", "timeout", "correct", "timeout", "timeout", "correct"]


@dataclass(frozen=True, slots=True)
class Hostile:
    """Does what the answer says."""

    def prepare(self) -> None:
        pass

    def extract(self, text: str) -> str:
        return text

    def compare_quickly(self, reference: str, answer: str) -> None:
        return None

    def compare(self, reference: str, answer: str) -> bool:
        match answer:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ZeroDivisionError(answer)
            case "eat":
                return len(bytearray(64 << 30)) == 0
            case "hang":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(3600)
        return answer == reference


def test_a_process_that_dies_takes_no_other_answer_with_it() -> None:
    answers = ["fine", "die", "fine", "raise", "eat", "hang", "fine", "bad"]
    questions = [Question(answer, "fine", answer) for answer in answers]
    results = {answer: verdict.reason for answer, verdict in verify_all(Hostile(), questions, 3, workers=2)}
    assert results == {
        "fine": "correct",
        "die": "crashed",
        "raise": "crashed",
        "eat": "crashed",
        "hang": "timeout",
        "bad": "incorrect",
    }


@dataclass(frozen=True, slots=True)
class Unprepared(Hostile):
    """Cannot be prepared."""

    def prepare(self) -> None:
        raise RuntimeError("no libraries here")


@pytest.mark.parametrize("questions", [1, 2000])
def test_workers_that_cannot_start_are_no_verdict(questions: int) -> None:
    asked = [Question(number, "fine", f"answer {number}") for number in range(questions)]
    with pytest.raises(Retryable, match=r"the processes that compare answers .* exit code 1") as failure:
        list(verify_all(Unprepared(), asked, 3, workers=2))
    assert failure.value.reason == "VerifierPoolBroken"


@dataclass(frozen=True, slots=True)
class Collecting:
    """Right if a pass of the garbage collection copies fewer bytes than the answer says."""

    def prepare(self) -> None:
        MathAnswers().prepare()

    def extract(self, text: str) -> str:
        return text

    def compare_quickly(self, reference: str, answer: str) -> None:
        return None

    def compare(self, reference: str, answer: str) -> bool:
        own_memory()  # takes some for itself
        before = own_memory()
        gc.collect()
        return own_memory() - before < int(answer)


def own_memory() -> int:
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty:"))


def test_garbage_collection_copies_nothing_of_the_process_that_was_forked() -> None:
    question = Question(0, reference="", text=str(2 << 20))
    ((_, verdict),) = verify_all(Collecting(), [question], 60, workers=1)
    assert verdict.reason == "correct"


def test_questions_are_taken_only_as_verdicts_are_asked_for() -> None:
    taken = 0

    def endless() -> Iterator[Question[int]]:
        nonlocal taken
        while True:
            taken += 1
            yield Question(taken, "1", r"\boxed{1}")

    results = verify_all(VERIFIERS["math-verify"], endless(), 10, workers=1)
    for expected in range(1, 1001):
        assert next(results) == (expected, Verdict("correct", "1"))
    assert taken < 1001 + 1000
