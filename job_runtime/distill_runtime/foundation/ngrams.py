"""Runs of words that texts have in common.

The check that GPT-3's authors introduced (Brown et al., 2020, appendix C), over words without case and punctuation.
Numbers and the letters of formulas count as words, or problems that differ only in them would look the same.
"""

import re
from collections.abc import Iterator

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Give the words of a text, in lower case."""
    return _WORD.findall(text.lower())


def ngrams(words: list[str], size: int) -> Iterator[int]:
    """Give a hash of each run of `size` words, which holds within this process; fewer words are one run as a whole."""
    if words:
        for start in range(max(1, len(words) - size + 1)):
            yield hash(tuple(words[start : start + size]))
