"""The fast path gives the tokenizer's own ids for every text, or leaves the text to the tokenizer."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from distill_runtime.packing.byte_pair import FastEncoding, NotTheSame, fast_encoding

# How Qwen2's and Llama 3's tokenizers split texts.
QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3 = QWEN_2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
GPT_2 = None
CORPUS = [
    "Let's add the fractions: \\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}, so the answer is \\boxed{\\frac{5}{6}}.\n\n",
    "Wait, that isn't right — I'll check it again…  100 + 2000 = 2100 ≤ 3000, 因此答案是 2100。\r\n\tDone!\n",
]


def train(pattern: str | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    if pattern is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS * 3, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return tokenizer


TOKENIZERS = {name: train(pattern) for name, pattern in [("qwen2", QWEN_2), ("llama3", LLAMA_3), ("gpt2", GPT_2)]}
FAST = {name: fast_encoding(tokenizer) for name, tokenizer in TOKENIZERS.items()}
every_tokenizer = pytest.mark.parametrize("name", list(TOKENIZERS))


def check(name: str, texts: list[str]) -> int:
    """Compare the two on texts; give how many the fast path took."""
    expected = TOKENIZERS[name].encode_batch(texts, add_special_tokens=False)
    taken = 0
    for text, encoding in zip(texts, expected, strict=True):
        ids = FAST[name].encode(text)
        if ids is not None:
            taken += 1
            assert ids.tolist() == encoding.ids, text
    return taken


@every_tokenizer
def test_every_character_in_context(name: str) -> None:
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{one}b {one}{one} 1{one}2\n{one}'{one}" for one in characters]
    assert check(name, texts) > 60_000


@every_tokenizer
def test_characters_beyond_are_left_to_the_tokenizer(name: str) -> None:
    assert check(name, [f"1{chr(code)}2" for code in range(0x10000, sys.maxunicode, 97)]) == 0


words = st.sampled_from(
    [
        *"aeinst0159 .'\\{}\n\t+=",
        "frac",
        "answer",
        "'ll",
        "'LL",
        "  ",
        "\r\n",
        "<think>",
        "<|im_end|>",
        "é",
        "e\u0301",
        "答",
        "≤",
    ]
)


@every_tokenizer
@given(texts=st.lists(st.lists(words, max_size=40).map("".join), min_size=1, max_size=20))
@settings(max_examples=60)
def test_texts_of_fragments(name: str, texts: list[str]) -> None:
    check(name, texts)


@every_tokenizer
def test_mathematics_takes_the_fast_path(name: str) -> None:
    assert check(name, CORPUS) == len(CORPUS)


def test_text_that_is_not_in_normal_form_is_left_to_the_tokenizer() -> None:
    assert FAST["qwen2"].encode("cafe\u0301") is None


def edited(change: Callable[[dict[str, Any]], object]) -> FastEncoding:
    content = json.loads(TOKENIZERS["qwen2"].to_str())
    change(content)
    return fast_encoding(Tokenizer.from_str(json.dumps(content)))


def swap_the_first_two_merges(content: dict[str, Any]) -> None:
    merges = content["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def drop_the_last_merge(content: dict[str, Any]) -> None:
    content["model"]["merges"].pop()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda content: content["model"].update(byte_fallback=True), "byte_fallback"),
        (lambda content: content["added_tokens"][0].update(lstrip=True), "not matched literally"),
        (lambda content: content.update(pre_tokenizer={"type": "Whitespace"}), "does not split"),
        (swap_the_first_two_merges, "does not follow the order"),
        (drop_the_last_merge, "do not make the token"),
    ],
)
def test_a_tokenizer_that_tiktoken_cannot_be_has_no_fast_path(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(NotTheSame, match=reason):
        edited(change)


def test_a_model_other_than_bpe_has_no_fast_path() -> None:
    with pytest.raises(NotTheSame, match="not BPE"):
        fast_encoding(Tokenizer(models.WordLevel({"a": 0}, "a")))
