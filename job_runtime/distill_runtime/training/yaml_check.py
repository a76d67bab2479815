"""MindFormers reads the YAML before it is handed to it: `python -m distill_runtime.training.yaml_check YAML...`.

A process of its own: it imports MindFormers, which takes half a gigabyte, and sets MindSpore's context. It needs no
device. What it finds wrong in a YAML is left beside it (see `findings`).

First the names are looked at, since MindFormers ignores unknown ones in most sections. Where they are right,
MindFormers and MindSpore take the values: the classes of the parallel, recompute and model configuration, the learning
rate's schedule, the optimizer with a parameter of one number, each of the context's settings, and the rules that the
trainer checks. MindSpore looks at the values of settings that only an NPU has on any device, if it is asked one by one.
A path is not tried, since MindSpore makes the directory. Nothing here says that a value makes sense, only that it is
taken.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import mindspore
import yaml
from mindformers.core.context.validators import execute_validator
from mindformers.core.lr import build_lr
from mindformers.core.optim import build_optim
from mindformers.core.parallel_config import build_parallel_config
from mindformers.parallel_core import transformer_config_utils
from mindformers.tools.check_rules import check_rules
from mindformers.tools.register import MindFormerConfig, MindFormerRegister
from mindspore import context as mindspore_context

from distill_runtime.contract import EXIT_DONE
from distill_runtime.process.child_process import end_with_parent
from distill_runtime.training.findings import Finding, Findings, findings_file
from distill_runtime.training.yaml_names import DATASETS, REGISTRIES, class_of, keys_of, section_of, shape_of, types_of

_REFUSALS: Final = (KeyError, TypeError, ValueError)
"""What MindFormers and MindSpore raise of a value that they do not take. Anything else is no word about the YAML."""
_COPIED: Final = ("train_dataset_task.dataset_config",)
"""Mappings that the YAML has twice; the other one is looked at."""
_MESSAGE_CHARACTERS: Final = 400
_NOT_TRIED: Final = frozenset({"device_target", "device_id", "mode", "parallel_mode"})
"""Settings that are not MindSpore's to judge: a device that is not here, and modes, which MindFormers has numbers for
that its own validators look at."""


def main(files: list[Path]) -> int:
    """Look at each YAML."""
    end_with_parent()
    mindspore.set_context(device_target="CPU")  # beside an NPU, too: this process must not take it
    for file in files:
        configuration = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = list(unknown_names(configuration)) or list(refused_values(file))
        findings_file(file).write_text(Findings(findings=tuple(found)).model_dump_json(), encoding="utf-8")
    return EXIT_DONE


def unknown_names(configuration: Mapping[str, Any]) -> Iterator[Finding]:
    """Find the keys that no code reads, and the classes that are not registered."""
    task = configuration.get("train_dataset_task") or {}
    yield from _look_at(configuration, "", "", None, task.get("type"))


def _look_at(
    values: Mapping[str, Any], place: str, shown: str, type_name: str | None, task: str | None
) -> Iterator[Finding]:
    """Look at a mapping and those below it.

    Args:
        place: where it stands, for `yaml_names`.
        shown: the same with the index of a list's item.
        type_name: the class whose arguments it has.
        task: the class of the data set.
    """
    known = keys_of(place, type_name)
    for key, value in values.items():
        below, below_shown = (f"{prefix}.{key}" if prefix else key for prefix in (place, shown))
        if known is not None and key not in known:
            yield _unknown_key(key, below_shown, known)
        elif not place and value is not None and (shape := shape_of(key)) and not isinstance(value, shape):
            message = f"must be a {'list' if shape is list else 'mapping'}, not {value!r}"
            yield Finding(path=key, problem="value", message=message)
        elif below not in _COPIED:
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, item in items:
                if isinstance(item, Mapping):
                    where = below_shown if index is None else f"{below_shown}[{index}]"
                    yield from _look_below(item, below, where, task)


def _look_below(values: Mapping[str, Any], place: str, shown: str, task: str | None) -> Iterator[Finding]:
    type_name = task if place in DATASETS else class_of(place, values)
    if place in REGISTRIES and "auto_register" not in values:
        types = types_of(place)
        if type_name is not None and type_name not in types:
            message = f"there is no class {type_name!r} for {place}"
            yield Finding(path=f"{shown}.type", problem="type", message=message, nearest=_nearest(type_name, types))
            return
    if "." not in place or place in REGISTRIES:
        yield from _look_at(values, place, shown, type_name, task)


def _unknown_key(key: str, shown: str, known: frozenset[str]) -> Finding:
    section = section_of(key) if "." not in shown else None
    nearest = f"{section}.{key}" if section is not None else _nearest(key, known)
    return Finding(path=shown, problem="key", message="there is no such key", nearest=nearest)


def _nearest(name: Any, known: frozenset[str]) -> str | None:
    close = get_close_matches(str(name), sorted(known), n=1)
    return close[0] if close else None


def refused_values(file: Path) -> Iterator[Finding]:
    """Have MindFormers and MindSpore take the values, and give what they refuse."""
    tried: list[Finding] = []

    def attempt(section: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except _REFUSALS as error:
            tried.append(_refusal(section, error))
        except Exception as error:  # noqa: BLE001 - such as a kernel that this machine has no device for
            print(f"{section} was not judged: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return None

    configuration = attempt("", lambda: MindFormerConfig(str(file), run_mode="finetune"))
    if configuration is None:
        return iter(tried)
    for key, value in (configuration.context or {}).items():
        attempt(f"context.{key}", partial(_set_context, key, value))
    for key, value in (configuration.parallel or {}).items():
        attempt(f"parallel.{key}", partial(_set_parallel, key, value))
    attempt("", lambda: execute_validator(configuration))
    attempt("lr_schedule", lambda: build_lr(configuration.lr_schedule))
    attempt("optimizer", lambda: _build_optimizer(configuration))
    attempt("parallel_config", lambda: build_parallel_config(configuration))
    if not tried:
        attempt("", lambda: check_rules(configuration, mode="train", dataset=configuration.train_dataset))
        attempt("model.model_config", lambda: _build_model_configuration(configuration))
    return iter(tried)


def _set_context(key: str, value: Any) -> None:
    """Set one of MindSpore's settings; those of MindFormers are not known to it."""
    context = mindspore_context._context()
    if key in context.setters and key not in _NOT_TRIED and not _is_path(value):
        context.setters[key](context, _without_paths(value))


def _set_parallel(key: str, value: Any) -> None:
    if key not in _NOT_TRIED and not _is_path(value):
        mindspore.set_auto_parallel_context(**{key: value})


def _without_paths(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: below for key, below in value.items() if not _is_path(below)}


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or value == "")


def _build_optimizer(configuration: Any) -> None:
    settings = MindFormerConfig(**configuration.optimizer)
    build_optim(settings, default_args={"params": [mindspore.Parameter(mindspore.Tensor([0.0]), name="weight")]})


def _build_model_configuration(configuration: Any) -> None:
    settings = dict(configuration.model.model_config)
    registered = MindFormerRegister.registry["config"].get(class_of("model.model_config", settings))
    settings.pop("type", None)
    if registered is None:
        return
    built = registered(**settings, parallel_config=configuration.parallel_config)
    if not configuration.use_legacy:
        _build_transformer_configuration(built)


def _build_transformer_configuration(built: Any) -> None:
    """Have the configuration taken of which a network of the newer kind is made.

    Raises:
        ValueError: for what MindFormers does not take. It raises a RuntimeError and remembers what was wrong.
    """
    try:
        transformer_config_utils.convert_to_transformer_config(built)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    finally:
        transformer_config_utils.ERROR_LOG.clear()


def _refusal(section: str, error: Exception) -> Finding:
    """Put a refusal into words. The value that is nearest to the refused one is among those that the message names."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    quoted = re.findall(r"'([\w.]+)'", message)
    got = re.search(r"\bgot(?: the value ?:)? ?'?([\w.]*\w)", message)
    refused = got[1] if got is not None else next(iter(quoted), "")
    members = {kind.__name__: kind for kind in _enumerations(Enum)}
    named = re.search(r"is not a valid (\w+)", message)
    choices = {str(member.value) for member in members[named[1]]} if named and named[1] in members else set(quoted)
    words = " ".join(message.split())[:_MESSAGE_CHARACTERS]
    return Finding(
        path=section, problem="value", message=words, nearest=_nearest(refused, frozenset(choices - {refused}))
    )


def _enumerations(kind: type[Enum]) -> Iterator[type[Enum]]:
    return chain.from_iterable((below, *_enumerations(below)) for below in kind.__subclasses__())


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
