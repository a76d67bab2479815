r"""Imported once, in the process that worker processes are forked from: loads math-verify and warms it up.

The first comparison compiles its regular expressions and fills the tables of its LaTeX parser, which takes longer
than a hundred of the comparisons that follow. What it has made by then is frozen: garbage collection in a worker
process would otherwise write to each object, and so copy every page that it shares with the one it was forked from.
"""

import gc
import logging

from distill_runtime.verification.math_answers import MathAnswers

# It warns, once in each process, that its own time limits are off.
logging.getLogger("math_verify").setLevel(logging.ERROR)

for _reference, _answer in ((r"\frac{1}{2}", "0.5"), (r"x^2+\sqrt{2}", r"\sqrt{2}+x^2"), ("(1,2]", r"\{1,2\}")):
    MathAnswers().compare(_reference, _answer)

gc.freeze()
