"""Verifying answers: CPU-seconds against plain math-verify, verdict by verdict, and a file with poison in it."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from bench import Row
from bench._processes import run
from distill_runtime.verification import VERIFIERS, Question, verify_all

Pair = tuple[str, str]
"""A reference answer and the text that a model answered after its reasoning."""

PAIRS = 10_000
POISON = 50
TIMEOUT_SECONDS = 15
"""So long that no other answer takes it, even where others leave its process a tenth of a processor."""

FASTER = 1.35
POISONS = (r"9^{9^{9^{9}}}", r"1000000000!", r"\int_0^1 \sin(x^x)^{x^x} dx", r"\sum_{k=1}^{10^9} \frac{1}{k^2}")

_TEXTS = (
    "The ones give {}, so the answer is \\boxed{{{}}}.",
    "Adding up gives {}. Therefore, the final result is\n\\[\n\\boxed{{{}}}\n\\]",
    "Since {} holds, **Final Answer**\n$\\boxed{{{}}}$",
)


def measure() -> Iterator[Row]:
    """Measure both on the same pairs, each in a process of its own."""
    pairs = make_pairs(PAIRS, random.Random(0))
    plain = run(verify_plainly, pairs)
    ours = run(verify_ours, pairs)
    changed = sum(one != other for one, other in zip(ours.result, plain.result, strict=True))
    ratio = plain.processor_seconds / ours.processor_seconds
    yield Row(
        "verify: answers a CPU-second",
        f"{PAIRS / ours.processor_seconds:.0f} ({ratio:.2f}x)",
        f"math-verify {PAIRS / plain.processor_seconds:.0f}",
        f">= {FASTER}x the peer",
        ratio >= FASTER,
    )
    yield Row("verify: verdicts changed", f"{changed} of {PAIRS}", "", "0", changed == 0)

    poisoned = list(pairs)
    for number, place in enumerate(random.Random(1).sample(range(PAIRS), POISON)):
        poisoned[place] = ("1", rf"\boxed{{{POISONS[number % len(POISONS)]} + {number}}}")
    reasons = run(reasons_of, poisoned)
    lost = Counter(reasons.result)
    harmed = sum(
        reason not in ("correct", "incorrect")
        for reason, pair in zip(reasons.result, poisoned, strict=True)
        if pair in set(pairs)
    )
    yield Row(
        f"verify: answers lost to {POISON} poisonous ones in {PAIRS}",
        f"{harmed} ({lost['timeout']} timeout, {lost['crashed']} crashed)",
        "",
        "0 others",
        harmed == 0,
    )


def make_pairs(count: int, source: random.Random) -> list[Pair]:
    """Make pairs as mathematics data has them: half of them integers, two thirds right, some written differently."""
    kinds: Sequence[tuple[float, Callable[[random.Random], tuple[str, str, str]]]] = (
        (0.45, _integer),
        (0.15, _fraction),
        (0.06, _decimal),
        (0.10, _root),
        (0.06, _interval),
        (0.06, _tuple),
        (0.06, _polynomial),
        (0.04, _choice),
        (0.02, _equation),
    )
    pairs = []
    for make in source.choices([make for _, make in kinds], [weight for weight, _ in kinds], k=count):
        reference, same, other = make(source)
        answer = same if source.random() < 2 / 3 else other
        pairs.append((reference, source.choice(_TEXTS).format(source.randint(2, 99), answer)))
    return pairs


def verify_ours(pairs: Sequence[Pair]) -> list[bool]:
    """Verify as the filter stage does, worker processes included."""
    return [reason == "correct" for reason in reasons_of(pairs)]


def reasons_of(pairs: Sequence[Pair]) -> list[str]:
    """Give the reason of each verdict."""
    questions = (Question(None, reference, text) for reference, text in pairs)
    return [verdict.reason for _, verdict in verify_all(VERIFIERS["math-verify"], questions, TIMEOUT_SECONDS, 2)]


def verify_plainly(pairs: Sequence[Pair]) -> list[bool]:
    """Verify as a loop over math-verify does."""
    from math_verify import parse, verify  # noqa: PLC0415 - its own process only

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return [bool(verify(parse(f"${reference}$"), parse(text))) for reference, text in pairs]


def _integer(source: random.Random) -> tuple[str, str, str]:
    value = source.choice((source.randint(-20, 200), source.randint(1000, 3_000_000)))
    same = f"{value:,}" if source.random() < 0.2 else str(value)
    return str(value), same, str(value + source.randint(1, 9))


def _fraction(source: random.Random) -> tuple[str, str, str]:
    top, bottom, factor = source.randint(1, 60), source.randint(2, 60), source.randint(2, 5)
    written = (rf"\frac{{{top}}}{{{bottom}}}", rf"\dfrac{{{top}}}{{{bottom}}}", f"{top}/{bottom}")
    same = (*written, rf"\frac{{{top * factor}}}{{{bottom * factor}}}")
    return source.choice(written), source.choice(same), rf"\frac{{{top}}}{{{bottom + 1}}}"


def _decimal(source: random.Random) -> tuple[str, str, str]:
    hundredths = source.randint(1, 99_999)
    value = f"{hundredths / 100:.2f}"
    return value, source.choice((value, value + "0", rf"\frac{{{hundredths}}}{{100}}")), f"{hundredths / 100 + 0.5:.2f}"


def _root(source: random.Random) -> tuple[str, str, str]:
    factor, radicand = source.randint(2, 9), source.choice((2, 3, 5, 7, 11))
    written = rf"{factor}\sqrt{{{radicand}}}"
    same = (written, rf"\sqrt{{{factor * factor * radicand}}}", rf"{factor} \cdot {radicand}^{{1/2}}")
    return written, source.choice(same), rf"{factor + 1}\sqrt{{{radicand}}}"


def _interval(source: random.Random) -> tuple[str, str, str]:
    low, high = sorted(source.sample(range(-30, 30), 2))
    written = f"[{low}, {high})"
    return written, source.choice((written, rf"\left[{low},{high}\right)")), f"[{low}, {high}]"


def _tuple(source: random.Random) -> tuple[str, str, str]:
    values = source.sample(range(100), 3)
    written = f"({', '.join(map(str, values))})"
    return written, source.choice((written, written.replace(" ", ""))), f"({', '.join(map(str, values[::-1]))})"


def _polynomial(source: random.Random) -> tuple[str, str, str]:
    first, second = source.randint(1, 9), source.randint(1, 9)
    written = f"x^2 + {first + second}x + {first * second}"
    return written, source.choice((written, f"(x+{first})(x+{second})")), f"x^2 + {first + second}x - {first * second}"


def _choice(source: random.Random) -> tuple[str, str, str]:
    right, wrong = source.sample("ABCDE", 2)
    return right, source.choice((right, rf"\text{{{right}}}", rf"\textbf{{({right})}}")), wrong


def _equation(source: random.Random) -> tuple[str, str, str]:
    value = source.randint(-50, 50)
    return f"x = {value}", source.choice((f"x = {value}", f"x={value}", str(value))), f"x = {value + 1}"
