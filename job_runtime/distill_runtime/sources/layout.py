"""Which files of a Hugging Face data set make up a subset and a split.

Pure: it sees the files' names and the data set's README, which may declare them in its front matter
(https://huggingface.co/docs/hub/datasets-manual-configuration); without a declaration the names tell, as they do for
the `datasets` library. It serves data sets on the hub and copies of them on the claim.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import yaml

from distill_runtime.foundation.errors import WrongInput

DEFAULT_SPLIT = "train"
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Selection:
    """What is wanted of a data set.

    Attributes:
        subset: also called configuration; None for the only one, or the default one.
        split: None for `train`, or the only one.
    """

    subset: str | None = None
    split: str | None = None


def choose_files(uri: str, names: Sequence[str], readme: str, selection: Selection) -> list[str]:
    """Choose from the names of a data set's files.

    Args:
        uri: of the data set, for messages.
        names: relative to the data set's root, of the files that hold rows.
        readme: the text of its README.md; empty if there is none.

    Raises:
        WrongInput: SubsetMissing or SplitMissing, with those that there are; MalformedFile.
    """
    configurations = _configurations(uri, readme)
    if not configurations:
        return _choose_by_name(uri, names, selection)
    configuration = _choose_configuration(uri, configurations, selection.subset)
    try:
        splits = _splits(configuration)
    except (LookupError, TypeError) as error:
        raise _malformed(uri, "declares data_files in a form that is not the hub's") from error
    split = selection.split or (DEFAULT_SPLIT if DEFAULT_SPLIT in splits or len(splits) != 1 else next(iter(splits)))
    if split not in splits:
        raise WrongInput("SplitMissing", f"{uri} has no split {split!r}; it has {', '.join(splits)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in splits[split])]


def declares_files(uri: str, readme: str) -> bool:
    """Tell whether a README declares which files belong to which subset and split.

    Raises:
        WrongInput: MalformedFile.
    """
    return bool(_configurations(uri, readme))


def _malformed(uri: str, problem: str) -> WrongInput:
    return WrongInput("MalformedFile", f"the README.md of {uri} {problem}; correct or remove it")


def _configurations(uri: str, readme: str) -> list[dict[str, Any]]:
    front_matter = _FRONT_MATTER.match(readme)
    try:
        metadata = yaml.safe_load(front_matter[1]) if front_matter else None
    except yaml.YAMLError as error:
        raise _malformed(uri, f"begins with metadata that is no YAML ({error})") from error
    declared = metadata.get("configs") if isinstance(metadata, dict) else None
    configurations = declared if isinstance(declared, list) else []
    return [each for each in configurations if isinstance(each, dict) and "data_files" in each]


def _choose_configuration(uri: str, configurations: list[dict[str, Any]], subset: str | None) -> dict[str, Any]:
    by_name = {str(each.get("config_name", "default")): each for each in configurations}
    default = next((name for name, each in by_name.items() if each.get("default")), "default")
    wanted = subset or (next(iter(by_name)) if len(by_name) == 1 else default)
    if wanted not in by_name:
        problem = f"no subset {wanted!r}" if subset else "several subsets and no default one"
        raise WrongInput("SubsetMissing", f"{uri} has {problem}; name one of {', '.join(by_name)}")
    return by_name[wanted]


def _splits(configuration: dict[str, Any]) -> dict[str, list[str]]:
    """Give the patterns of each split; files that are declared without one are `train`."""
    declared = configuration["data_files"]
    splits: dict[str, list[str]] = {}
    for entry in declared if isinstance(declared, list) else [declared]:
        split, paths = (str(entry["split"]), entry["path"]) if isinstance(entry, dict) else (DEFAULT_SPLIT, entry)
        splits.setdefault(split, []).extend(str(path) for path in (paths if isinstance(paths, list) else [paths]))
    return splits


def _choose_by_name(uri: str, names: Sequence[str], selection: Selection) -> list[str]:
    inside = [name for name in names if selection.subset is None or name.startswith(f"{selection.subset}/")]
    if not inside:
        raise WrongInput("SubsetMissing", f"{uri} has no directory {selection.subset!r} with rows in it")
    word = re.compile(rf"(^|[/._-]){re.escape(selection.split or DEFAULT_SPLIT)}([/._-]|$)")
    chosen = [name for name in inside if word.search(name)]
    if not chosen and selection.split is not None:
        examples = ", ".join(inside[:5])
        raise WrongInput("SplitMissing", f"{uri} has no file of a split {selection.split!r}; it has {examples}")
    return chosen or inside
