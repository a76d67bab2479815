import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from inputs import BENCHMARK, PROMPTS, SYSTEM_PROMPT, write_inputs
from rules import Addition, Outcome, work_out


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("inputs")
    write_inputs(directory)
    return directory


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_prompts_and_benchmark_have_no_problem_in_common(directory: Path) -> None:
    prompts = {row["problem"] for row in rows(directory / "prompts.jsonl")}
    benchmark = {row["problem"] for row in rows(directory / "benchmark.jsonl")}
    assert (len(prompts), len(benchmark)) == (PROMPTS, BENCHMARK)
    assert not prompts & benchmark


def test_every_row_has_its_sum_and_an_identity_of_its_own(directory: Path) -> None:
    everything = rows(directory / "prompts.jsonl") + rows(directory / "benchmark.jsonl")
    for row in everything:
        addition = Addition.find(row["problem"])
        assert addition
        assert row["answer"] == addition.answer
    assert len({row["uuid"] for row in everything}) == len(everything)


def test_files_are_the_same_at_every_run(directory: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    names = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    assert len(names) == 7
    for name in names:
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), name


def test_tokenizer_gives_back_what_a_student_is_trained_on(directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "student" / "tokenizer.json"))
    answer = work_out(Addition(47, 85), Outcome.RIGHT, max_tokens=1000)
    for text in (SYSTEM_PROMPT, answer.reasoning, answer.content, "漢字 and 7 apples", "<|im_start|>user\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_every_digit_is_a_token(directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "student" / "tokenizer.json"))
    assert tokenizer.encode("132").tokens == ["1", "3", "2"]


def test_model_and_tokenizer_agree(directory: Path) -> None:
    config = json.loads((directory / "student" / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(directory / "student" / "tokenizer.json"))
    assert config["vocab_size"] == tokenizer.get_vocab_size()
    assert config["eos_token_id"] == tokenizer.token_to_id("<|im_end|>")
    assert config["pad_token_id"] == tokenizer.token_to_id("<|endoftext|>")


def test_chat_template_is_chatml(directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(directory / "student")
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": "What is 10 + 11?"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\nWhat is 10 + 11?<|im_end|>\n<|im_start|>assistant\n"
    )
