"""Where a trained model's answers end, written where servers read it.

A base model ends texts, not turns: Qwen2.5's knows `<|endoftext|>` alone, while its chat template, and so the student,
ends an answer with `<|im_end|>`. A server that does not know that lets an answer run on to its limit.

* generation_config.json: transformers and vLLM stop at each `eos_token_id` of it, as does this project's own server.
* config.json: its `eos_token_id` is what counts for what reads no generation_config.json, such as MindIE.
* The tokenizer's `eos_token`: vLLM and this project's own server stop at it too.

Qwen2.5's instruct versions differ from their bases in the same places.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_runtime.training.architecture import CONFIG_NAME

GENERATION_CONFIG_NAME: Final = "generation_config.json"
_TOKENIZER_FILES: Final = ("tokenizer_config.json", "special_tokens_map.json")
_TEMPLATE_FILE: Final = "chat_template.jinja"


@dataclass(frozen=True)
class EndToken:
    """What an answer ends with.

    Attributes:
        id: its number.
        text: as the tokenizer's vocabulary has it.
    """

    id: int
    text: str


def stop_at(end_token: EndToken | None, model: Path) -> None:
    """Have servers end answers at the token, besides at those that the base ends texts with.

    Args:
        end_token: None leaves the tokens as they are.
        model: directory of the trained model, with the base's config.json, tokenizer and, if it has one,
            generation_config.json.
    """
    config = json.loads((model / CONFIG_NAME).read_bytes())
    path = model / GENERATION_CONFIG_NAME
    tokens = ("bos_token_id", "eos_token_id", "pad_token_id")
    generation = (
        json.loads(path.read_bytes())
        if path.is_file()
        else {name: config[name] for name in tokens if config.get(name) is not None}
    )
    # Of a base it is the length of a demonstration; vLLM takes it as the most that anybody may ask for.
    generation.pop("max_new_tokens", None)
    if end_token is not None:
        known = _ids(generation.get("eos_token_id", config.get("eos_token_id")))
        generation["eos_token_id"] = [end_token.id, *(known_id for known_id in known if known_id != end_token.id)]
        if end_token.id not in _ids(config.get("eos_token_id")):
            _write(model / CONFIG_NAME, config | {"eos_token_id": end_token.id})
        if not _template_names_end(model):
            for name in _TOKENIZER_FILES:
                _name_in_tokenizer(end_token, model / name)
    _write(path, generation)


def _ids(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _template_names_end(model: Path) -> bool:
    """Tell whether the chat template writes `eos_token` itself: with another one it would write other conversations."""
    path = model / _TEMPLATE_FILE
    template = path.read_text(encoding="utf-8") if path.is_file() else ""
    settings = json.loads((model / _TOKENIZER_FILES[0]).read_bytes())
    return "eos_token" in template + json.dumps(settings.get("chat_template"))


def _name_in_tokenizer(end_token: EndToken, path: Path) -> None:
    """Put it in the place of `eos_token`, which is a text, or an object with flags and its `content`."""
    if not path.is_file():
        return
    settings = json.loads(path.read_bytes())
    named = settings.get("eos_token")
    if named is None and path.name != _TOKENIZER_FILES[0]:
        return
    settings["eos_token"] = named | {"content": end_token.text} if isinstance(named, dict) else end_token.text
    _write(path, settings)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
