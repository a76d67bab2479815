"""A stage that is ended at a moment of one's choice."""

from typing import Any

from distill_runtime.foundation.errors import Terminated
from distill_runtime.process.progress import Reporter


class Interrupting(Reporter):
    """Ends the stage at the n-th report, as SIGTERM may at any moment."""

    def __init__(self, at: int) -> None:
        super().__init__("pack", "samples")
        self._left = at

    def update(self, **changes: Any) -> None:
        super().update(**changes)
        self._left -= 1
        if self._left == 0:
            raise Terminated


class InterruptingEnd(Reporter):
    """Ends the stage when all is written and only the artifact is to be made complete."""

    def __init__(self) -> None:
        super().__init__("pack", "samples")

    def update(self, **changes: Any) -> None:
        super().update(**changes)
        if changes.get("message") == "making the artifact complete":
            raise Terminated


class Recording(Reporter):
    """Keeps what was done at each report.

    Attributes:
        done: units, report by report.
    """

    def __init__(self) -> None:
        super().__init__("pack", "samples")
        self.done: list[int] = []

    def update(self, **changes: Any) -> None:
        super().update(**changes)
        if "done" in changes:
            self.done.append(changes["done"])
