"""Rows that cannot be written are rejected one by one, each with a reason; a template that does for none is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import chat_tokenizers as templates

from distill_runtime.contract import PackParameters
from distill_runtime.contract.parameters import TokenizerSource
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import kept_row
from distill_runtime.packing.tokenising import RowTokenizer
from distill_runtime.packing.tokens import Sample, SampleTokenizer

ANSWER = "<think>\nOne more.\n</think>\n\n\\boxed{2}"
NO_SYSTEM_ROLE = (
    "{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{%- endif %}"
    + templates.QWEN_2_5
)
LEAVES_SYSTEM_OUT = templates.QWEN_2_5.replace("in messages %}", "in messages if message.role != 'system' %}")
TWO_ENDS = templates.QWEN_2_5.replace(
    "+ '<|im_end|>'", "+ ('<|eot_id|>' if message.content.endswith('!') else '<|im_end|>')"
)

Tokenizers = Callable[..., RowTokenizer]


@pytest.fixture
def rows_of(tmp_path: Path) -> Tokenizers:
    def make(template: str, **parameters: object) -> RowTokenizer:
        directory = templates.write_tokenizer(tmp_path, template)
        source = TokenizerSource(uri="tokenizer")
        fields = {"sequence_length": 4096, **parameters}
        return RowTokenizer(SampleTokenizer(directory), PackParameters(tokenizer=source, **fields))

    return make


def line(text: str = ANSWER, prompt: str = "1 + 1?") -> bytes:
    return json.dumps(
        kept_row("u", 0, prompt, "2", text, source=None, tokens=None, teacher=None, decided_by="rules")
    ).encode()


def outcomes(tokenizer: RowTokenizer, *lines: bytes) -> list[str]:
    return [
        "sample" if isinstance(outcome, Sample) else f"{outcome.reason}: {outcome.why}"
        for outcome in tokenizer.samples(lines)
    ]


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        (templates.QWEN_3, "<think>a</think> b </think> c", "templateUnsuitable: the chat template does not do: it c"),
        (templates.QWEN_3, "  ", "sample"),
        (TWO_ENDS, "Two!", "templateUnsuitable: the chat template ends this message with '<|eot_id|>', others with"),
        (templates.QWEN_2_5, "on and on " * 1000, "tooLong: 10,094 tokens"),
    ],
)
def test_one_row_costs_no_other(rows_of: Tokenizers, template: str, text: str, expected: str) -> None:
    before, found, after = outcomes(rows_of(template), line(), line(text), line())
    assert (before, after) == ("sample", "sample")
    assert found.startswith(expected), found


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>"])
@pytest.mark.parametrize("where", ["user", "assistant"])
def test_control_tokens_in_messages_are_no_control(rows_of: Tokenizers, token: str, where: str) -> None:
    bad = line(prompt=f"1{token} + 1?") if where == "user" else line(ANSWER + token + "\n")
    expected = f"controlTokens: the {where} message has the control token {token} written out in it"
    assert outcomes(rows_of(templates.QWEN_2_5), line(), bad, line("<|im_e nd|> \x00 <|im_|>")) == [
        "sample",
        expected,
        "sample",
    ]


def with_added_tokens(directory: Path, *tokens: tuple[str, bool]) -> None:
    content = json.loads((directory / "tokenizer.json").read_text())
    for number, (token, special) in enumerate(tokens, start=5000):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        content["added_tokens"].append({"id": number, "content": token, "special": special, **flags})
    (directory / "tokenizer.json").write_text(json.dumps(content))


def test_added_tokens_that_are_no_control_are_text(tmp_path: Path) -> None:
    """Marks of reasoning and of tool calls are written by the model; white space is in every text."""
    template = templates.QWEN_2_5.replace("<|im_start|>", "<|turn|>")
    directory = templates.write_tokenizer(tmp_path, template)
    added = [("<think>", True), ("</think>", True), ("<tool_call>", False), ("  ", False), ("<|turn|>", False)]
    with_added_tokens(directory, *added)
    tokenizer = SampleTokenizer(directory)
    found = {text: tokenizer.control_token_in(f"a {text} b") for text, _ in added}
    assert found == {"<think>": None, "</think>": None, "<tool_call>": None, "  ": None, "<|turn|>": "<|turn|>"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (NO_SYSTEM_ROLE, "it fails: System role not supported"),
        (LEAVES_SYSTEM_OUT, "it leaves out, or changes, the sys"),
    ],
)
def test_a_template_without_a_system_role_names_the_field(rows_of: Tokenizers, template: str, words: str) -> None:
    with pytest.raises(WrongInput, match=rf'pack\.systemPrompt: {words}.* set pack\.systemPrompt to ""') as refusal:
        rows_of(template)
    assert refusal.value.reason == "TemplateUnsuitable"
    assert outcomes(rows_of(template, system_prompt=""), line()) == ["sample"]


def test_a_system_prompt_with_control_tokens_is_refused(rows_of: Tokenizers) -> None:
    with pytest.raises(WrongInput, match=r"pack\.systemPrompt has the tokenizer's control token <\|im_end\|>"):
        rows_of(templates.QWEN_2_5, system_prompt="Be brief.<|im_end|>")


@pytest.mark.parametrize(
    ("template", "text", "remedy"),
    [
        (templates.DROPS_REASONING, ANSWER, "reasoning would be lost. Use a template"),
        (
            templates.QWEN_2_5,
            ANSWER + "<|im_end|>",
            "written out in it. Have the teacher's server leave special tokens",
        ),
    ],
)
def test_a_template_that_does_for_none_of_the_first_is_refused(
    rows_of: Tokenizers, template: str, text: str, remedy: str
) -> None:
    rows = rows_of(template)
    with pytest.raises(WrongInput, match=f"none of the first 3 rows can be written.*{remedy}") as refusal:
        rows.check_first([line(text)] * 3)
    assert refusal.value.reason == "TemplateUnsuitable"
    rows.check_first([line(text), line(text), line("no reasoning")])


def test_rows_that_are_too_long_say_nothing_of_the_template(rows_of: Tokenizers) -> None:
    rows_of(templates.QWEN_2_5, max_sample_tokens=16).check_first([line()])
