"""Conversations become samples by the tokenizer's own template; only the assistant's last message is learned."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import chat_tokenizers as templates

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.chat import Message, Unwritable, render
from distill_runtime.packing.tokens import SampleTokenizer

ANSWER = "<think>\nThe ones, then the tens.\n</think>\n\nIt is \\boxed{46}."
ASKED = [Message(role="system", content="Be brief."), Message(role="user", content="12 + 34?")]
CONVERSATION = [*ASKED, Message(role="assistant", content=ANSWER)]

Tokenizers = Callable[[str], SampleTokenizer]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizers:
    return lambda template: SampleTokenizer(templates.write_tokenizer(tmp_path, template))


@pytest.mark.parametrize(
    ("template", "prompt", "end"),
    [
        (
            templates.QWEN_2_5,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n12 + 34?<|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>",
        ),
        (
            templates.QWEN_3,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n12 + 34?<|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>",
        ),
        (
            templates.LLAMA_3,
            (
                "<|endoftext|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\n12 + 34?<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
            "<|eot_id|>",
        ),
    ],
)
def test_the_template_decides_the_text(tokenizer: Tokenizers, template: str, prompt: str, end: str) -> None:
    chat = tokenizer(template)
    exchange = render(chat.template, CONVERSATION)
    assert exchange.prompt == prompt
    assert exchange.completion == ANSWER + end
    (sample,) = chat.samples([exchange])
    decode = chat.template.decode
    assert decode(sample.tokens[: sample.prompt_length]) == prompt
    assert decode(sample.tokens[sample.prompt_length :]) == ANSWER + end
    assert chat.token(chat.end_token_id) == end


def test_earlier_turns_are_given_not_learned(tokenizer: Tokenizers) -> None:
    follow_up = [*CONVERSATION, Message(role="user", content="Sure?"), Message(role="assistant", content="Yes.")]
    exchange = render(tokenizer(templates.QWEN_3).template, follow_up)
    assert exchange.completion == "Yes.<|im_end|>"
    given = "It is \\boxed{46}.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    assert exchange.prompt.endswith("<|im_start|>assistant\n" + given)


def test_a_prompt_may_end_with_the_first_word_of_the_answer(tokenizer: Tokenizers) -> None:
    template = templates.QWEN_2_5 + "{%- if add_generation_prompt %}{{- '<think>\n' }}{%- endif %}"
    exchange = render(tokenizer(template).template, CONVERSATION)
    assert exchange.prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert exchange.completion == ANSWER.removeprefix("<think>\n") + "<|im_end|>"


def test_the_end_is_known_whatever_the_prompt_ends_with(tokenizer: Tokenizers) -> None:
    chat = tokenizer(templates.QWEN_2_5 + "{%- if add_generation_prompt %}{{- '<think>\n' }}{%- endif %}")
    assert chat.token(chat.end_token_id) == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (templates.DROPS_REASONING, "reasoning would be lost"),
        (templates.QWEN_2_5 + "{%- if add_generation_prompt %}{{- 'Answer: ' }}{%- endif %}", "does not start"),
        ("{%- if tools %}" + templates.QWEN_2_5 + "{%- endif %}", "does not start"),
        (templates.QWEN_2_5.replace("message.content", "message.content[:9]"), "reasoning would be lost"),
        (templates.QWEN_2_5.replace("in messages %}", "in messages if message.role != 'system' %}"), "the system"),
        (templates.QWEN_2_5 + "{{ raise_exception('no more than ' ~ messages | length) }}", "it fails: no more than 2"),
        (templates.QWEN_2_5 + "{{ 1 // 0 }}", "it fails: integer division"),
    ],
)
def test_a_template_that_would_teach_something_else_is_refused(
    tokenizer: Tokenizers, template: str, complaint: str
) -> None:
    with pytest.raises(Unwritable, match=complaint):
        render(tokenizer(template).template, CONVERSATION)


def test_a_template_without_an_end_of_turn_is_refused(tokenizer: Tokenizers) -> None:
    chat = tokenizer(
        "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    with pytest.raises(WrongInput, match="never learn to stop") as refusal:
        _ = chat.end_token_id
    assert refusal.value.reason == "TemplateUnsuitable"


def test_a_template_that_cannot_write_a_conversation_is_refused(tokenizer: Tokenizers) -> None:
    chat = tokenizer("{{ raise_exception('tools only') }}")
    with pytest.raises(WrongInput, match="cannot write a question and its answer: it fails: tools only") as refusal:
        _ = chat.end_token_id
    assert refusal.value.reason == "TemplateUnsuitable"


def test_a_missing_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"there is no .*tokenizer_config\.json"):
        SampleTokenizer(tmp_path)


def test_a_missing_template_is_said(tmp_path: Path) -> None:
    directory = templates.write_tokenizer(tmp_path, "")
    with pytest.raises(WrongInput, match="no chat_template"):
        SampleTokenizer(directory)


@pytest.mark.parametrize("described", [{}, {"added_tokens_decoder": {}}])
@pytest.mark.parametrize("content", ["{}", "", '{"version": "1.0", "model'])
def test_a_broken_tokenizer_is_said(tmp_path: Path, described: dict[str, object], content: str) -> None:
    directory = templates.write_tokenizer(tmp_path, templates.QWEN_3)
    # With its added tokens in tokenizer_config.json, as published ones have them, another library reads tokenizer.json.
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | described))
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(WrongInput, match=r"cannot load the tokenizer in .*: .+") as refusal:
        SampleTokenizer(directory)
    assert refusal.value.reason == "InvalidTokenizer"
    assert str(directory) in refusal.value.message


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_git_lfs_has_not_fetched_is_said(tmp_path: Path, name: str) -> None:
    directory = templates.write_tokenizer(tmp_path, templates.QWEN_3)
    (directory / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:c0ffee\nsize 7031645\n")
    with pytest.raises(WrongInput, match=rf"{directory}: {name} is a pointer .* run git lfs pull there") as refusal:
        SampleTokenizer(directory)
    assert refusal.value.reason == "InvalidTokenizer"


def test_the_fingerprint_is_of_the_ids_not_of_the_files(tmp_path: Path) -> None:
    one = SampleTokenizer(templates.write_tokenizer(tmp_path / "one", templates.QWEN_3))
    other_directory = templates.write_tokenizer(tmp_path / "other", templates.QWEN_2_5)
    content = json.loads((other_directory / "tokenizer.json").read_text())
    (other_directory / "tokenizer.json").write_text(json.dumps(content))
    assert SampleTokenizer(other_directory).fingerprint() == one.fingerprint()
    content["normalizer"] = None
    (other_directory / "tokenizer.json").write_text(json.dumps(content))
    assert SampleTokenizer(other_directory).fingerprint() != one.fingerprint()
