r"""Find the final answer in a model's text: the last `\boxed{…}`.

One pass over the text with a stack of open braces, so that nested braces (`\boxed{\frac{1}{2}}`) are kept whole and a
hostile text (thousands of boxes that never close, millions of backslashes) costs no more than any other.
"""

import re
from dataclasses import dataclass

# A box may be written with a doubled backslash by a model that escapes its output as JSON. `\{` and `\}` are
# characters of the answer, not groups, so any other escape is stepped over as a pair. A run of backslashes is one
# token, and possessive quantifiers give no part of it back: to try each of its ends takes the square of its length.
_TOKEN = re.compile(r"(\\++(?:boxed|fbox)\s*+\{)|(?:\\\\)*+\\.|(?:\\\\)++|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")

# What makes two boxes one answer: `\boxed{1} and \boxed{2}`, `\boxed{(1,2)},\ \boxed{(2,1)}`.
_SPACE = r"(?:[\s$]|\\[,;!()\[\] ]|\\q?quad)*"
_WORD = r"(?:[,;]|and|or|\\(?:text|mathrm)\s*\{\s*,?\s*(?:and|or)\s*\})"
_CONNECTION = re.compile(rf"{_SPACE}{_WORD}{_SPACE}(?:and|or)?{_SPACE}")
_LONGEST_CONNECTION = 60


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a box is in the text: of the whole, and of its content."""

    start: int
    content_start: int
    content_end: int


def boxed_answer(text: str) -> str | None:
    r"""Give the content of the last `\boxed{…}` whose braces balance, or None when there is none.

    Several boxes that are joined by a comma, `and` or `or` are one answer, whose parts come back separated by commas:
    `x = \boxed{1} or \boxed{2}` is not the answer 2. Of nested boxes the inner ones count. Spaces around the content
    are dropped; a box with nothing else in it is no answer.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    first = len(boxes) - 1
    while first and _connected(text[boxes[first - 1].content_end + 1 : boxes[first].start]):
        first -= 1
    contents = [text[box.content_start : box.content_end].strip() for box in boxes[first:]]
    return ", ".join(dict.fromkeys(contents)) or None


def _boxes(text: str) -> list[_Box]:
    """Find the boxes that close and have no other box in them, in order."""
    beginning = _BOX.search(text)
    if beginning is None:
        return []
    boxes: list[_Box] = []
    open_groups: list[re.Match[str] | None] = []  # the box that each open brace belongs to, None for a plain group
    for token in _TOKEN.finditer(text, beginning.start()):
        symbol = token.group()
        if symbol == "{":
            open_groups.append(None)
        elif symbol == "}":
            opened = open_groups.pop() if open_groups else None
            if opened is not None and not (boxes and boxes[-1].start > opened.start()):
                boxes.append(_Box(opened.start(), opened.end(), token.start()))
        elif token.lastindex:
            open_groups.append(token)
    return boxes


def _connected(between: str) -> bool:
    return len(between) <= _LONGEST_CONNECTION and _CONNECTION.fullmatch(between) is not None
