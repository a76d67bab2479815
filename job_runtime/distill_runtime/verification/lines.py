"""Lines of JSON between processes that do not trust each other: nothing that is read can run code."""


class Overlong(Exception):  # noqa: N818 - what the other side did rather than an error of this one
    """A line is longer than any that could be meant."""


class Lines:
    """Takes bytes as they arrive and gives whole lines.

    Args:
        longest: bytes that a line may have; None for any number.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Give the lines that are complete now, without their ends.

        Raises:
            Overlong: as soon as it is certain.
        """
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            self._take(part)
            lines.append(b"".join(self._parts))
            self._parts, self._size = [], 0
        self._take(rest)
        return lines

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._longest is not None and self._size > self._longest:
            raise Overlong
        self._parts.append(part)
