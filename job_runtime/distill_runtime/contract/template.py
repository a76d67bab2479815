"""Texts with placeholders for the columns of a row: `{context}`, `{problem}`.

A placeholder is a name in braces that begins with a letter or `_` and has no backslash in it, so that LaTeX's `{}` and
`{2}` are text. A name in double braces is text as well, with single ones: `\\boxed{{answer}}` is `\\boxed{answer}`.
What is put in for a placeholder is never looked at again.
"""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{\{([^\W\d][^{}\\]{0,255})\}\}|\{([^\W\d][^{}\\]{0,255})\}")


def template_names(template: str) -> tuple[str, ...]:
    """Give the names that a template has placeholders for, each once, in order."""
    return tuple(dict.fromkeys(match.group(2) for match in _PLACEHOLDER.finditer(template) if match.group(2)))


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put the values in.

    Args:
        values: for every name that the template has.
    """

    def text_of(match: re.Match[str]) -> str:
        return f"{{{match.group(1)}}}" if match.group(1) else values[match.group(2)]

    return _PLACEHOLDER.sub(text_of, template)
