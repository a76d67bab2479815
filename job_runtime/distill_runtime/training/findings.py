"""What MindFormers finds wrong in a YAML, and how that is said to whoever wrote spec.mindformers."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from distill_runtime.contract import Model
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.process.child_process import start
from distill_runtime.training.attempt import to_yaml

_CHECK: Final = "distill_runtime.training.yaml_check"
_FIELD: Final = "spec.mindformers"
_SECONDS: Final = 600
"""It takes some, most of them to import MindFormers; a node that is busy takes longer."""


class Finding(Model):
    """One thing that is wrong.

    Attributes:
        path: where in the YAML.
        problem: what is not known or not taken.
        message: what is wrong with it.
        nearest: the name that was perhaps meant.
    """

    path: str
    problem: Literal["key", "type", "value"]
    message: str
    nearest: str | None = None


class Findings(Model):
    """All that is wrong with a YAML."""

    findings: tuple[Finding, ...] = ()


def findings_file(configuration: Path) -> Path:
    """Name the file of what was found in a YAML."""
    return configuration.with_suffix(".findings.json")


def find(configurations: Sequence[dict[str, Any]]) -> list[tuple[Finding, ...]]:
    """Have MindFormers look at configurations, all in one process; it writes only to a directory that is removed.

    Raises:
        Retryable: ChildFailed, if the process ended early, such as for lack of memory; ChildTimedOut.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = [directory / f"configuration-{number}.yaml" for number in range(len(configurations))]
        for file, configuration in zip(files, configurations, strict=True):
            file.write_text(to_yaml(configuration), encoding="utf-8")
        environment = {"LOCAL_DEFAULT_PATH": name}  # where MindFormers keeps its logs
        start("yaml-check", _CHECK, [str(file) for file in files], environment, directory).wait(_SECONDS)
        return [Findings.model_validate_json(findings_file(file).read_bytes()).findings for file in files]


def refuse(findings: Sequence[Finding], overrides: Mapping[str, Any]) -> None:
    """Refuse a YAML in which something was found.

    Args:
        overrides: spec.mindformers, where it is to be corrected.

    Raises:
        WrongInput: UnknownMindFormersKey or WrongMindFormersValue, for what the overrides brought in;
            MindFormersDiffers, for what this project writes itself.
    """
    if not findings:
        return
    installed = f"MindFormers {version('mindformers')}"
    said = [_describe(finding, overrides) for finding in findings]
    if any(words is None for words in said):
        problems = "; ".join(f"{finding.path}: {finding.message}" for finding in findings)
        raise WrongInput(
            "MindFormersDiffers",
            f"{installed} does not take the configuration that npu-distill writes: {problems}; use the runtime image "
            "of the operator's version, which has the MindFormers that it is made for",
        )
    message = f"{installed} does not take {_FIELD}: {'; '.join(words for words in said if words is not None)}"
    if any(finding.problem == "value" for finding in findings):
        raise WrongInput("WrongMindFormersValue", message)
    raise WrongInput("UnknownMindFormersKey", message)


def _describe(finding: Finding, overrides: Mapping[str, Any]) -> str | None:
    """Say what is wrong and where in the overrides; None if they have nothing to do with it."""
    paths = list(_paths(overrides, finding.path))
    if not paths:
        return None
    # Of a section that was refused as a whole, the keys that the refusal speaks of, or else all that were set.
    spoken_of = [path for path in paths if path.rpartition(".")[2] in finding.message] or paths
    where = ", ".join(f"{_FIELD}.{path}" for path in spoken_of)
    meant = "" if finding.problem == "value" else "; leave it out"
    if finding.nearest is not None:
        meant = f" (did you mean {finding.nearest}?)"
    return f"{where}: {finding.message}{meant}"


def _paths(overrides: Mapping[str, Any], place: str) -> Iterator[str]:
    """Give the overrides that stand at a place of the YAML, or below it if the place is a mapping."""
    for path in _leaves(overrides):
        if path == place or path.startswith((f"{place}.", f"{place}[")) or place == "":
            yield path
        elif place.startswith((f"{path}.", f"{path}[")):  # an override that is replaced as a whole, such as a list
            yield place


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key
