"""The volume: the one directory that a stage reads from and writes to."""

import os
from pathlib import Path

from distill_runtime.foundation.errors import WrongInput


class Volume:
    """A claim's mount point, or any directory when a stage is run by hand.

    Contracts name paths relative to it, so the same contract is right wherever the volume is mounted. Paths are
    judged as they are written, without following links: a link on the volume was put there by its owner, who may
    keep models elsewhere, while a `..` in a contract is a mistake or worse.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links

    def resolve(self, uri: str) -> Path:
        """Give the path of what a contract names.

        Raises:
            WrongInput: PathOutsideVolume.
        """
        path = Path(os.path.normpath(self.root / uri))
        if not path.is_relative_to(self.root):
            raise WrongInput(
                "PathOutsideVolume",
                f"{uri!r} leads outside the volume mounted at {self.root}; name a path relative to the volume",
            )
        return path

    def relative(self, path: Path) -> str:
        """Give the name that a contract would use for a path on the volume."""
        return path.relative_to(self.root).as_posix()
