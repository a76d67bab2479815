r"""Find the final answer in a model's text: the last `\boxed{…}`.

One pass over the text with a stack of open braces, so that nested braces (`\boxed{\frac{1}{2}}`) are kept whole and a
hostile text (thousands of boxes that never close) costs no more than any other.
"""

import re

# A box may be written with a doubled backslash by a model that escapes its output as JSON. `\{` and `\}` are
# characters of the answer, not groups, so any other escape is stepped over as a pair.
_TOKEN = re.compile(r"\\+(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def last_boxed(text: str) -> str | None:
    r"""Give the content of the last `\boxed{…}` whose braces balance, or None when there is none.

    Of nested boxes the inner one counts, as it starts last. Spaces around the content are dropped; a box with
    nothing else in it is no answer.
    """
    first = _BOX.search(text)
    if first is None:
        return None
    open_groups: list[int | None] = []  # for each open brace: where its box's content starts, None for a plain group
    last_start, last_end = -1, -1
    for token in _TOKEN.finditer(text, first.start()):
        symbol = token.group()
        if symbol == "{":
            open_groups.append(None)
        elif symbol == "}":
            start = open_groups.pop() if open_groups else None
            if start is not None and start > last_start:
                last_start, last_end = start, token.start()
        elif symbol.endswith("{") and len(symbol) > len("\\{"):
            open_groups.append(token.end())
    return text[last_start:last_end].strip() or None if last_start >= 0 else None
