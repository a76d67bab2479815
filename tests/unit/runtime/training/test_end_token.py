"""What servers read of where an answer ends, in a base's directory and after it was trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import chat_tokenizers
from support.student import CONFIG

from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.training.end_token import EndToken, stop_at

END = EndToken(151645, "<|im_end|>")
TEXT_END = 151643


def write_base(directory: Path, config: dict[str, Any], generation: dict[str, Any] | None, **tokenizer: object) -> Path:
    """Write a base whose tokenizer ends texts with <|endoftext|>; `tokenizer` replaces keys of its settings."""
    chat_tokenizers.write_tokenizer(directory, chat_tokenizers.QWEN_2_5)
    change(directory / "tokenizer_config.json", eos_token="<|endoftext|>", **tokenizer)
    (directory / "config.json").write_text(json.dumps(CONFIG | config))
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    return directory


def change(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize(
    ("config", "generation", "config_end", "generation_after"),
    [
        # Qwen2.5's base.
        (
            {"bos_token_id": TEXT_END, "eos_token_id": TEXT_END},
            {"bos_token_id": TEXT_END, "do_sample": False, "eos_token_id": TEXT_END, "max_new_tokens": 2048},
            END.id,
            {"bos_token_id": TEXT_END, "do_sample": False, "eos_token_id": [END.id, TEXT_END]},
        ),
        # A base without generation_config.json.
        (
            {"bos_token_id": 1, "eos_token_id": TEXT_END},
            None,
            END.id,
            {"bos_token_id": 1, "eos_token_id": [END.id, TEXT_END]},
        ),
        # An instruct version, which knows.
        (
            {"eos_token_id": END.id},
            {"eos_token_id": [TEXT_END, END.id], "top_p": 0.8},
            END.id,
            {"eos_token_id": [END.id, TEXT_END], "top_p": 0.8},
        ),
        # Several tokens in config.json, the end among them.
        ({"eos_token_id": [7, END.id]}, {}, [7, END.id], {"eos_token_id": [END.id, 7]}),
        # Nothing is said anywhere.
        ({}, None, END.id, {"eos_token_id": [END.id]}),
    ],
)
def test_the_end_comes_first_and_what_ended_texts_stays(
    tmp_path: Path,
    config: dict[str, Any],
    generation: dict[str, Any] | None,
    config_end: object,
    generation_after: dict[str, Any],
) -> None:
    model = write_base(tmp_path, config, generation)
    stop_at(END, model)
    assert read(model / "config.json") == CONFIG | config | {"eos_token_id": config_end}
    assert read(model / "generation_config.json") == generation_after


def test_an_end_that_is_not_known_changes_no_token(tmp_path: Path) -> None:
    model = write_base(tmp_path, {"eos_token_id": 7}, {"eos_token_id": [7, 8], "max_new_tokens": 2048})
    before = {path.name: path.read_text() for path in model.iterdir()}
    stop_at(None, model)
    assert read(model / "generation_config.json") == {"eos_token_id": [7, 8]}
    for name in before.keys() - {"generation_config.json"}:
        assert (model / name).read_text() == before[name]


def test_the_tokenizer_ends_with_it_and_makes_the_same_ids(tmp_path: Path) -> None:
    model = write_base(tmp_path, {}, None)
    (model / "special_tokens_map.json").write_text(
        json.dumps({"eos_token": {"content": "<|endoftext|>", "lstrip": False, "single_word": False}})
    )
    before = SampleTokenizer(model)
    assert before.template.eos_token == "<|endoftext|>"
    stop_at(EndToken(before.end_token_id, "<|im_end|>"), model)
    after = SampleTokenizer(model)
    assert (after.template.eos_token, after.template.eos_token_id) == ("<|im_end|>", before.end_token_id)
    assert after.fingerprint() == before.fingerprint()
    assert read(model / "special_tokens_map.json")["eos_token"] == {
        "content": "<|im_end|>",
        "lstrip": False,
        "single_word": False,
    }


@pytest.mark.parametrize("beside", [False, True])
def test_a_template_that_writes_the_tokenizer_s_end_keeps_it(tmp_path: Path, beside: bool) -> None:
    template = "{{ eos_token }}" + chat_tokenizers.QWEN_2_5
    model = write_base(tmp_path, {}, None, chat_template=None if beside else template)
    if beside:
        (model / "chat_template.jinja").write_text(template)
    stop_at(END, model)
    assert read(model / "tokenizer_config.json")["eos_token"] == "<|endoftext|>"
    assert read(model / "generation_config.json")["eos_token_id"] == [END.id]
