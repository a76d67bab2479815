"""The versions that training and serving are written for, and whether they are the ones that are installed.

Between versions MindFormers renames what a YAML means, and what is ignored there trains something else without a word:
by 1.7 the patch that left the data in its files no longer applied, and nothing said so. So another version is refused.
"""

import importlib.metadata
from collections.abc import Mapping
from typing import Final

from distill_runtime.foundation.errors import WrongInput

TESTED: Final[Mapping[str, str]] = {"mindformers": "1.8.0", "mindspore": "2.7.2"}
"""As pyproject.toml has them, which an image does not."""


def check_versions() -> None:
    """Refuse other versions than those of `TESTED`; a local build of one (`2.7.2+site`) counts as that.

    Raises:
        WrongInput: VersionMismatch, naming what is installed and what was tested.
    """
    installed = {name: importlib.metadata.version(name) for name in TESTED}
    if {name: version.partition("+")[0] for name, version in installed.items()} == TESTED:
        return
    raise WrongInput(
        "VersionMismatch",
        f"this image has {_words(installed)}, and the stages are written for and tested with {_words(TESTED)}; build "
        "the image from this version's images/runtime/Dockerfile, and set it as runtimeImage or in the profile",
    )


def _words(versions: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())
