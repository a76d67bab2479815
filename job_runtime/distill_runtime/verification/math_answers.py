r"""The `math-verify` verifier: symbolic comparison of the last `\boxed{}` with the reference answer."""

import logging
import re
from dataclasses import dataclass

from distill_runtime.foundation.reasoning import text_after_reasoning
from distill_runtime.verification import boxed, easy

# What already tells math-verify where the mathematics is; anything else is put in a box, as the answer is.
_DELIMITED = re.compile(r"(?<!\\)\$|\\\(|\\\[")

_WARMING = ((r"\frac{1}{2}", "0.5"), (r"x^2+\sqrt{2}", r"\sqrt{2}+x^2"), ("(1,2]", r"\{1,2\}"))


@dataclass(frozen=True, slots=True)
class MathAnswers:
    """Compare as math-verify does (https://github.com/huggingface/Math-Verify), the reference first.

    math-verify's own time limits are off: they rely on SIGALRM, report a time-out as a wrong answer and cannot
    interrupt a computation in C. The pool's limit ends the process instead, and the verdict says so.
    """

    def prepare(self) -> None:
        """Load math-verify and warm it up.

        The first comparison compiles its regular expressions and fills the tables of its LaTeX parser, which takes
        longer than a hundred of the comparisons that follow.
        """
        # It warns, once in each process, that its own time limits are off.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        for reference, answer in _WARMING:
            self.compare(reference, answer)

    def extract(self, text: str) -> str | None:
        r"""Give the content of the last `\boxed{}` after the reasoning."""
        return boxed.boxed_answer(text_after_reasoning(text))

    def compare_quickly(self, reference: str, answer: str) -> bool | None:
        """Decide integers, decimals, simple fractions and equal texts."""
        return easy.decide(reference.strip(), answer)

    def compare(self, reference: str, answer: str) -> bool:
        """Parse both and compare them symbolically."""
        from math_verify import parse, verify  # noqa: PLC0415 - seconds to load, and only worker processes need it

        gold = parse(_in_a_box(reference.strip()), parsing_timeout=None)
        return bool(verify(gold, parse(rf"\boxed{{{answer}}}", parsing_timeout=None), timeout_seconds=None))


def _in_a_box(reference: str) -> str:
    if _DELIMITED.search(reference):
        return reference
    inner = boxed.boxed_answer(reference)
    return rf"\boxed{{{reference if inner is None else inner}}}"
