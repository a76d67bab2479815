"""Tokenising: CPU-seconds against the HuggingFace tokenizer, id by id."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

from bench import Row
from bench._processes import run

DOCUMENT_CHARACTERS = 16_000
VOCABULARY = 16_000
ROUNDS = 3
FASTER = 6
"""How many times the peer's tokens a CPU-second."""

# How Qwen2's tokenizer splits texts.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def measure() -> Iterator[Row]:
    """Tokenise the same documents by both, one after the other, on one processor."""
    ours, theirs, tokens, differing, documents = run(tokenise_by_both).result
    ratio = theirs / ours
    yield Row(
        "tokenise: ktok a CPU-second",
        f"{tokens / ours / 1e3:.0f} ({ratio:.1f}x)",
        f"HF tokenizers {tokens / theirs / 1e3:.0f}",
        f">= {FASTER}x the peer",
        ratio >= FASTER,
    )
    yield Row("tokenise: documents whose ids differ", f"{differing} of {documents}", "", "0", differing == 0)


def tokenise_by_both() -> tuple[float, float, int, int, int]:
    """Give CPU-seconds of ours and theirs, medians of rounds in turn, tokens, documents that differ, documents."""
    from distill_runtime.packing.byte_pair import fast_encoding  # noqa: PLC0415 - its own process only

    training, documents = _documents()
    tokenizer = _train(training)
    fast = fast_encoding(tokenizer)
    our_seconds, their_seconds = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        ours = [fast.encode(document) for document in documents]
        between = time.process_time()
        theirs = [tokenizer.encode_batch_fast([document], add_special_tokens=False)[0].ids for document in documents]
        ended = time.process_time()
        our_seconds.append(between - began)
        their_seconds.append(ended - between)
    # A document that the fast path leaves to the tokenizer would be tokenised by it, so it cannot differ, but it would
    # count as if it cost nothing: there must be none.
    assert all(ids is not None for ids in ours)
    differing = sum(one.tolist() != other for one, other in zip(ours, theirs, strict=True) if one is not None)
    return median(our_seconds), median(their_seconds), sum(map(len, theirs)), differing, len(documents)


def _documents() -> tuple[list[str], list[str]]:
    """Take mathematical prose and code that is on every machine: the sources of SymPy, half to train on."""
    specification = importlib.util.find_spec("sympy")
    assert specification is not None
    assert specification.origin is not None
    texts = [path.read_text() for path in sorted(Path(specification.origin).parent.rglob("*.py"))]
    whole = "".join(text for text in texts if all(ord(character) < 0x10000 for character in text))[:12_000_000]
    pieces = [whole[start : start + DOCUMENT_CHARACTERS] for start in range(0, len(whole), DOCUMENT_CHARACTERS)]
    return pieces[::2], pieces[1::2]


def _train(texts: list[str]) -> Tokenizer:

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False)])
    return tokenizer
