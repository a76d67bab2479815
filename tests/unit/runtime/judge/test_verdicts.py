"""What a judge's replies come to."""

from pathlib import Path

import pytest

from distill_runtime.client.journal import Journal
from distill_runtime.client.values import Answer, Failure, Reply, Request
from distill_runtime.contract import Judge
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.judge.verdicts import open_verdicts, read_judgements

ENDPOINT = {"url": "http://judge/v1", "model": "judge"}
DEFAULT = Judge.model_validate({"endpoint": ENDPOINT})
LETTERS = Judge.model_validate({"endpoint": ENDPOINT, "verdictPattern": r"\\boxed\{([ABC])\}", "acceptedVerdict": "a"})

REPLIES = [
    (DEFAULT, "Both are one half.\nVerdict: correct", "accepted"),
    (DEFAULT, "**Verdict: Correct.**", "accepted"),
    (DEFAULT, "**Verdict:** incorrect\n", "rejected"),
    (DEFAULT, "VERDICT: INCORRECT", "rejected"),
    # The last one counts, and what is quoted within a sentence is none.
    (DEFAULT, "The answer reads\nVerdict: correct\nwhich is no answer.\nVerdict: incorrect", "rejected"),
    (DEFAULT, 'It says "Verdict: correct" itself.', "noVerdict"),
    (DEFAULT, "Verdict: not correct", "noVerdict"),
    (DEFAULT, "<think>\nVerdict: correct\n</think>\n\nI cannot tell.", "noVerdict"),
    (DEFAULT, "<think>\nVerdict: correct", "noVerdict"),
    (DEFAULT, "", "noVerdict"),
    (LETTERS, "\\boxed{A} - CORRECT", "accepted"),
    (LETTERS, "\\boxed{A}? No: \\boxed{C} - INCOMPLETE", "rejected"),
]


def decisions(judge: Judge, replies: list[tuple[str | None, str]], directory: Path) -> list[str]:
    """Give what comes of replies, each with its finish reason; None is a request that failed."""
    keys = [f"{number:016x}" for number in range(len(replies))]
    with Journal(directory / "judgements.jsonl") as journal:
        for key, (text, finish_reason) in zip(keys, replies, strict=True):
            request = Request(key, {}, {})
            if text is None:
                journal.append(Failure(request, "refused", "too long", "http://judge/v1", 1))
            else:
                journal.append(Answer(request, Reply(text, None, finish_reason, 3, 7, "m"), "http://judge/v1", 1, 0.5))
    asked = [(key, key) for key in (*keys, keys[0])]  # two answers may have led to one question
    found = list(read_judgements(judge, asked, directory / "judgements.jsonl"))
    assert [item for item, _ in found] == [*keys, keys[0]]
    assert found[-1][1] == found[0][1]
    return [judgement.decision for _, judgement in found[:-1]]


@pytest.mark.parametrize("judge", [DEFAULT, LETTERS], ids=["lines", "letters"])
def test_the_last_verdict_in_its_own_words_decides(judge: Judge, tmp_path: Path) -> None:
    replies: list[tuple[str | None, str]] = [(text, "stop") for whose, text, _ in REPLIES if whose is judge]
    expected = [decision for whose, _, decision in REPLIES if whose is judge]
    # What was cut off may stop at what it only quotes, and of what failed nobody knows.
    lost = [("\\boxed{A}\nVerdict: correct", "length"), (None, "")]
    assert decisions(judge, [*replies, *lost], tmp_path) == [*expected, "noVerdict", "failed"]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(WrongInput, match="verdictPattern") as refusal:
        open_verdicts(DEFAULT.model_copy(update={"verdict_pattern": "(("}))
    assert refusal.value.reason == "InvalidPattern"
