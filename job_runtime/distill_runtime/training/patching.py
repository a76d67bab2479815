"""Patches to MindSpore's and MindFormers' modules, applied as these are imported.

An import hook applies them, so the packages themselves stay untouched and nothing is imported earlier than it would be;
for the same reason each patch imports what it needs itself. `install` must run before MindFormers is imported.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

Patches = Mapping[str, Callable[[Any], None]]
"""By the name of the module that each is applied to."""


class _PatchingLoader(importlib.abc.Loader):
    """Loads a module as its own loader would, then patches it."""

    def __init__(self, loader: importlib.abc.Loader, patch: Callable[[Any], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Finds the modules that are patched, and only those."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _PatchingLoader(spec.loader, self._patches[fullname])
        return spec


def install(patches: Patches) -> None:
    """Patch each module when it is imported.

    Raises:
        RuntimeError: if one of them is imported already, when it is too late.
    """
    if too_late := patches.keys() & sys.modules.keys():
        raise RuntimeError(f"imported before it could be patched: {', '.join(sorted(too_late))}")
    sys.meta_path.insert(0, _PatchingFinder(patches))
