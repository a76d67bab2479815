"""The names that the installed MindFormers and MindSpore know in a YAML, taken from their own classes.

MindFormers refuses an unknown key in some sections and ignores it in the others, where a typing error would train
something else than was asked for. There is no list of ours that would age. A section's names are

- the attributes of its template (mindformers/tools/register/template.py),
- the arguments of the class that its `type` names in MindFormers' registry (tools/register/register.py),
- what the trainer, the core and the data sets read of it, by the text of their source.

What only one version of MindFormers has is to be looked up here and nowhere else. Read against 1.6.0 and 1.8.0. To be
imported in a process of its own (see `yaml_check`): it loads MindFormers.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import datasets
import mindformers
from mindformers.core.context.build_context import MFContextOperator
from mindformers.parallel_core.transformer_config_utils import (
    COMMON_CONFIG_MAPPING,
    scatter_multi_mapping_keys_to_mapping,
)
from mindformers.tools.register import MindFormerRegister
from mindformers.tools.register.register import NEW_CLASS_PREFIX
from mindformers.tools.register.template import CONFIG_NAME_TO_CLASS, ListConfig
from mindspore import context as mindspore_context
from mindspore._c_expression import ms_ctx_param
from mindspore.parallel._auto_parallel_context import _set_auto_parallel_context_func_map

_ROOT: Final = Path(mindformers.__file__).parent
_GENERAL: Final = "general_config"
"""The template's name for the keys of the top level."""
_READERS: Final = ("trainer", "core", "dataset", "wrapper")
"""Packages of MindFormers that read a section of the YAML."""
_TOP_LEVEL_READERS: Final = ("trainer", "core/context")
_LOADERS: Final = "dataset"
"""The package of data sets and loaders; loaders pass on to each other, and to `datasets`, what they do not know."""
_ANY_REGISTRATION: Final = frozenset({"type", "auto_register"})
_KINDS: Final = frozenset({"model_type", "architectures"})
"""By which MindFormers finds a newer network and its configuration."""
_ITSELF: Final = frozenset({"self", "cls"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")

REGISTRIES: Final = {
    "trainer": "trainer",
    "runner_wrapper": "wrapper",
    "runner_wrapper.scale_sense": "wrapper",
    "optimizer": "optimizer",
    "optimizer.learning_rate": "lr",
    "lr_schedule": "lr",
    "metric": "metric",
    "callbacks": "callback",
    "eval_callbacks": "callback",
    "train_dataset_task": "dataset",
    "eval_dataset_task": "dataset",
    "train_dataset.data_loader": "dataset_loader",
    "eval_dataset.data_loader": "dataset_loader",
    "model.model_config": "config",
}
"""Where a `type` stands, and the registry that has the classes it may name."""
_NETWORK: Final = "model.model_config"
DATASETS: Final = ("train_dataset", "eval_dataset")
"""Sections that become arguments of the class which their task names."""


def types_of(path: str) -> frozenset[str]:
    """Give the names that the `type` of a place may have."""
    return frozenset(MindFormerRegister.registry[REGISTRIES[path]])


def class_of(path: str, values: Mapping[str, Any]) -> str | None:
    """Name the registered class that a mapping is for; None if it names none.

    A network of the newer kind is known by the `model_type` of its configuration.
    """
    if path == _NETWORK and "type" not in values:
        key = (REGISTRIES[path], f"{NEW_CLASS_PREFIX}{values.get('model_type')}")
        newer: str | None = MindFormerRegister.search_names_map.get(key)
        return newer
    return values.get("type")


def keys_of(path: str, type_name: str | None) -> frozenset[str] | None:
    """Give the keys that a mapping of the YAML may have; None if MindFormers does not say.

    Args:
        path: keys from the top of the YAML, joined by points; a list's items have the list's path.
        type_name: the class that the mapping names, if it names one; of a data set's, that of its task.
    """
    if path in _OWN_WAYS:
        return _OWN_WAYS[path]()
    section, _, below = path.partition(".")
    template = None if below else CONFIG_NAME_TO_CLASS.get(section)
    if path in DATASETS:
        return _class_keys("dataset", type_name) | _read(path) | _read("dataset_config") | _read_by_datasets()
    if REGISTRIES.get(path) == "dataset_loader":
        return _loader_keys() | _ANY_REGISTRATION
    if path in REGISTRIES:
        if type_name is not None and type_name.startswith(NEW_CLASS_PREFIX):
            return _newer_network_keys(type_name)
        names = _class_keys(REGISTRIES[path], type_name) | _ANY_REGISTRATION | _read(path.rpartition(".")[2])
        return names if template is None else names | _template(section)
    return _template(section) if template is not None and template._raise_error_for_unexpected_key else None


def shape_of(section: str) -> type[Any] | None:
    """Tell whether a section is a mapping or a list; None of what is no section."""
    if section == _GENERAL or section not in CONFIG_NAME_TO_CLASS:
        return None
    return list if issubclass(CONFIG_NAME_TO_CLASS[section], ListConfig) else dict


def section_of(key: str) -> str | None:
    """Name the section that a key belongs to."""
    section: str
    for section, template in CONFIG_NAME_TO_CLASS.items():
        if section != _GENERAL and key in template.keys():  # noqa: SIM118 - a class method, not a mapping's
            return section
    return None


def _top_level() -> frozenset[str]:
    """Give the sections and the general keys. Keys of sections are left out, which the trainer reads there."""
    read = frozenset(
        key for package in _TOP_LEVEL_READERS for key in _names_read("config", _ROOT / package) if not section_of(key)
    )
    return (frozenset(CONFIG_NAME_TO_CLASS) - {_GENERAL}) | _template(_GENERAL) | read


def _model() -> frozenset[str]:
    return frozenset({"arch"}) | _required("model") | _read("model")


def _parallel() -> frozenset[str]:
    return _template("parallel") | frozenset(_set_auto_parallel_context_func_map) | _read("parallel")


def _newer_network_keys(type_name: str) -> frozenset[str]:
    """Give the arguments of a newer network's configuration, and what TransformerConfig takes under all of its names.

    The network is built of the latter, and MindFormers refuses what it does not know of it (parallel_core/
    transformer_config_utils.py).
    """
    registered = MindFormerRegister.registry[REGISTRIES[_NETWORK]][type_name]
    kinds = _arguments(registered).items()
    named = {name for name, kind in kinds if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return frozenset(named | set(scatter_multi_mapping_keys_to_mapping(COMMON_CONFIG_MAPPING)) | _KINDS)


def _context() -> frozenset[str]:
    own = frozenset(MFContextOperator.get_supported_kwargs()) | _template("context") | _read("context")
    native = frozenset(name for name in ms_ctx_param.__members__ if not name.startswith("_"))
    return own | native | frozenset(mindspore_context._context().setters)


_OWN_WAYS: Final[Mapping[str, Callable[[], frozenset[str]]]] = {
    "": _top_level,
    "context": _context,
    "parallel": _parallel,
    "model": _model,
}


def _template(section: str) -> frozenset[str]:
    return frozenset(CONFIG_NAME_TO_CLASS[section].keys()) | _required(section)


def _required(section: str) -> frozenset[str]:
    return frozenset(CONFIG_NAME_TO_CLASS[section]._required_keys)


@cache
def _class_keys(registry: str, type_name: str | None) -> frozenset[str]:
    """Give the arguments of a registered class, what it takes out of its **kwargs, and those of bases that get them.

    Some classes hide all their arguments behind **kwargs; of these any name that their module has may be meant.
    """
    registered = MindFormerRegister.registry[registry].get(type_name)
    if registered is None:
        return frozenset()
    names: set[str] = set()
    for base in inspect.getmro(registered) if inspect.isclass(registered) else (registered,):
        arguments = _arguments(base)
        module = inspect.getmodule(base)
        if not arguments or module is None:
            continue
        named = {name for name, kind in arguments.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}
        if not named and base is registered:
            return frozenset(_IDENTIFIER.findall(_text(module)))
        names |= named | _taken_from(module, "kwargs")
        if registry == "config":  # what the network reads of its configuration, whether or not that declares it
            names |= set(_names_read("config", Path(str(module.__file__)).parent))
        if inspect.Parameter.VAR_KEYWORD not in arguments.values():
            break
    return frozenset(names)


def _arguments(base: Any) -> dict[str, Any]:
    """Give the names and kinds of a constructor's own arguments, without the object itself."""
    kinds: dict[str, Any] = {}
    for function in (vars(base).get("__init__"), vars(base).get("__new__")):
        plain = function.__func__ if isinstance(function, staticmethod) else function
        if inspect.isfunction(plain):
            parameters = list(inspect.signature(plain).parameters.values())
            kinds |= {parameter.name: parameter.kind for parameter in parameters if parameter.name not in _ITSELF}
    return kinds


@cache
def _text(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")


def _taken_from(module: ModuleType, name: str) -> set[str]:
    return set(re.findall(rf"\b{name}(?:\.(?:pop|get)\(|\[)\s*['\"](\w+)['\"]", _text(module)))


@cache
def _read(name: str) -> frozenset[str]:
    """Give what MindFormers reads of what it calls `name`."""
    return frozenset(key for package in _READERS for key in _names_read(name, _ROOT / package))


@cache
def _read_by_datasets() -> frozenset[str]:
    """Give what the data sets read of a section that they call `config`."""
    return frozenset(_names_read("config", _ROOT / _LOADERS))


@cache
def _loader_keys() -> frozenset[str]:
    """Give all names in the sources of the data loaders, and the arguments of the functions that load for them."""
    texts = (file.read_text(encoding="utf-8") for file in sorted((_ROOT / _LOADERS).rglob("*.py")))
    names = {name for text in texts for name in _IDENTIFIER.findall(text)}
    passed_on = (datasets.load_dataset, datasets.load_from_disk)
    return frozenset(names | {name for function in passed_on for name in inspect.signature(function).parameters})


def _names_read(name: str, directory: Path) -> Iterator[str]:
    """Find `name.key`, `name.get("key"`, `name["key"]` and `getattr(name, "key"` in a directory's sources."""
    patterns = (
        rf"\b{name}\.(?!get\b|pop\b)([a-z]\w*)\b(?!\()",
        rf"\b{name}(?:\.(?:get|pop)\(|\[)\s*['\"](\w+)['\"]",
        rf"attr\(\s*(?:\w+\.)*{name},\s*['\"](\w+)['\"]",
    )
    for file in sorted(directory.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for pattern in patterns:
            yield from re.findall(pattern, text)
