"""The fast path of tokenising: the same byte-pair encoding by tiktoken, several times faster, where it is the same.

tiktoken merges any two neighbours whose concatenation is a token, the one with the lowest id first; HuggingFace's
tokenizers merge only the pairs that are listed, the first listed first. The two give the same ids for every text if

1. the ids of merged tokens rise in the order of the merges, and
2. each token, taken alone as bytes, is merged to itself by the listed merges.

For suppose tiktoken, at the first step where the two differ, merges x and y to the token t. No merge so far crossed
the borders of t's bytes, or x and y would not fill them; so the same merges were done within them as when t is alone,
namely all below t that apply. Alone, these leave the pair that is listed for t (2). So x and y are that pair, and the
two do not differ. `fast_encoding` checks both conditions, and that nothing else in the tokenizer's description is
beyond tiktoken.

Texts are split by a regular expression first, and the two engines know different versions of Unicode: of all characters
they disagree on the Kaktovik numerals, U+1D2C0 to U+1D2D3. So a text with any character beyond U+FFFF is left to the
tokenizer; the unit tests compare both on every other one.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from distill_runtime.packing.byte_alphabet import token_bytes

_GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` splits by on its own (tokenizers, pre_tokenizers/byte_level.rs)."""
_SPACES = r"|\s+(?!\S)|\s+"
"""How the patterns of all these tokenizers end."""


class NotTheSame(Exception):  # noqa: N818 - a finding rather than an error
    """Why a tokenizer has no fast path."""


class FastEncoding:
    """Encodes as the tokenizer does that it was made from."""

    def __init__(self, encoding: tiktoken.Encoding, composes: bool) -> None:
        self._encoding = encoding
        self._special_tokens = frozenset(encoding.special_tokens_set)
        self._composes = composes

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32] | None]:
        """Give what `encode` gives for each text."""
        return [self.encode(text) for text in texts]

    def encode(self, text: str) -> NDArray[np.uint32] | None:
        """Give the ids of a text, or None for one that is left to the tokenizer.

        That is one with a character beyond U+FFFF, and one that is not in normal form: normalisation concerns what is
        between special tokens, not these themselves, which tiktoken cannot do.
        """
        if not text.isascii():
            if len(text.encode("utf-16-le", "surrogatepass")) != 2 * len(text):
                return None
            if self._composes and not unicodedata.is_normalized("NFC", text):
                return None
        return self._encoding.encode_to_numpy(text, allowed_special=self._special_tokens, disallowed_special=())


def fast_encoding(tokenizer: Tokenizer) -> FastEncoding:
    """Make the fast path of a tokenizer; takes a second for 150,000 tokens.

    Raises:
        NotTheSame: saying what it has that tiktoken has not.
    """
    content = json.loads(tokenizer.to_str())
    model, special_tokens = content["model"], _special_tokens(content["added_tokens"])
    _require_plain_model(model)
    vocabulary = {token: number for token, number in model["vocab"].items() if token not in special_tokens}
    _require_equal_merges(vocabulary, [(left, right) for left, right in model["merges"]])
    ranks = {token_bytes(token): number for token, number in vocabulary.items()}
    if len(ranks.keys() & {bytes([value]) for value in range(256)}) < 256:  # noqa: PLR2004 - bytes have 256 values
        raise NotTheSame("not every byte is a token")
    encoding = tiktoken.Encoding(
        "tokenizer",
        pat_str=_grouped(_pattern(content["pre_tokenizer"])),
        mergeable_ranks=ranks,
        special_tokens=special_tokens,
    )
    return FastEncoding(encoding, _composes(content["normalizer"]))


def _special_tokens(added_tokens: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    for token in added_tokens:
        if token["single_word"] or token["lstrip"] or token["rstrip"] or token["normalized"]:
            raise NotTheSame(f"the added token {token['content']!r} is not matched literally")
    return {token["content"]: token["id"] for token in added_tokens}


def _require_plain_model(model: Mapping[str, Any]) -> None:
    if model.get("type") != "BPE":
        raise NotTheSame(f"its model is {model.get('type')}, not BPE")
    for option in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise NotTheSame(f"its BPE has {option}")


def _composes(normalizer: Mapping[str, Any] | None) -> bool:
    if normalizer is not None and normalizer != {"type": "NFC"}:
        raise NotTheSame(f"its normalizer is {normalizer['type']}, not NFC")
    return normalizer is not None


def _pattern(pre_tokenizer: Mapping[str, Any] | None) -> str:
    """Give the regular expression that texts are split by before they are encoded."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return _GPT2_PATTERN
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    raise NotTheSame("it does not split texts by one regular expression and then into bytes")


def _grouped(pattern: str) -> str:
    """Put the alternatives before the one that looks ahead into a group, which changes nothing but the speed.

    tiktoken's engine tries the alternatives of a pattern that looks ahead one by one. The group, which does not look
    ahead, is handed to a faster engine as a whole: half as many tokens again in the same time.
    """
    others = pattern.removesuffix(_SPACES)
    return pattern if others == pattern else f"(?:{others}){_SPACES}"


def _require_equal_merges(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Check the two conditions of the module's docstring."""
    previous = -1
    for left, right in merges:
        number = vocabulary.get(left + right, -1)
        if number <= previous:
            raise NotTheSame(f"the id of {left + right!r} does not follow the order of the merges")
        previous = number
    by_merges_alone = models.BPE(vocabulary, merges)
    for token, number in vocabulary.items():
        parts = by_merges_alone.tokenize(token)
        if len(parts) != 1 or parts[0].id != number:
            raise NotTheSame(f"the merges do not make the token {token!r}")
