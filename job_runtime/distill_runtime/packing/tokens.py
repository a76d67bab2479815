"""A tokenizer in HuggingFace's files, and the samples that it makes of conversations."""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.reasoning import REASONING_END, REASONING_START
from distill_runtime.packing.byte_pair import FastEncoding, NotTheSame, fast_encoding
from distill_runtime.packing.chat import Exchange, Message, Unwritable, write

logger = logging.getLogger(__name__)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
"""What a tokenizer consists of; the directory may hold a model too."""
_POINTER = b"version https://git-lfs"
_TEXTS_OF_A_TASK = 16
"""Handing a text to another thread takes as long as tokenising a short one."""
ANSWERED = (Message(role="user", content="1 + 1?"), Message(role="assistant", content="2"))
"""Any conversation, to see how the template ends one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One tokenised conversation.

    Attributes:
        tokens: int32 array.
        prompt_length: how many of them are given, at least one; the rest, also at least one, is learned.
    """

    tokens: NDArray[np.int32]
    prompt_length: int


class SampleTokenizer:
    """Turns conversations into samples.

    Args:
        directory: of the tokenizer's files.

    Attributes:
        template: writes conversations as text.
        pad_token_id: fills up sequences; it is never learned, so the end-of-text token will do where there is no other.

    Raises:
        WrongInput: TokenizerMissing, InvalidTokenizer or TemplateMissing.
    """

    def __init__(self, directory: Path) -> None:
        # `tokenizers` would start a thread for each processor of the node, whatever the container's limit.
        os.environ.setdefault("RAYON_NUM_THREADS", str(available_cpus()))
        # It would say that there is no PyTorch.
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        # Takes seconds to load, and only this class needs it.
        from transformers.models.auto.tokenization_auto import AutoTokenizer  # noqa: PLC0415

        if not (directory / "tokenizer_config.json").is_file():
            raise WrongInput(
                "TokenizerMissing",
                f"there is no {directory}/tokenizer_config.json; tokenizer.uri must be a directory with "
                "tokenizer_config.json and tokenizer.json (or vocab.json and merges.txt)",
            )
        try:
            self.template: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        except Exception as error:  # tokenizers raises it bare
            cause = _unfetched(directory) or error
            raise WrongInput("InvalidTokenizer", f"cannot load the tokenizer in {directory}: {cause}") from error
        if not self.template.is_fast:
            raise WrongInput(
                "InvalidTokenizer",
                f"the tokenizer in {directory} has no fast version; add its tokenizer.json",
            )
        if not self.template.chat_template:
            raise WrongInput(
                "TemplateMissing",
                f"{directory}/tokenizer_config.json has no chat_template; take it from the model's instruct version",
            )
        self._directory = directory
        self._tokenizer = self.template.backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._added_tokens: dict[int, Any] = self._tokenizer.get_added_tokens_decoder()
        pad, end = self.template.pad_token_id, self.template.eos_token_id
        self.pad_token_id = int(pad if pad is not None else end if end is not None else 0)

    def fingerprint(self) -> str:
        """Give a digest of everything that decides a text's token ids: vocabulary, merges, normalisation, added tokens.

        It does not depend on how the files are written, nor on the chat template.
        """
        return f"sha256:{hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()}"

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id, added tokens included."""
        return 1 + max(int(token_id) for token_id in self._tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def end_token_id(self) -> int:
        """The token that the chat template ends an assistant's message with: the model learns to stop by it.

        A base model's own end-of-text token may be another one. (Qwen2.5's is `<|endoftext|>`, while its template ends
        a message with `<|im_end|>`.)

        Raises:
            WrongInput: TemplateUnsuitable, if that is no special token: the model would never learn to stop.
        """
        ids = self._tokenizer.encode(self._answered, add_special_tokens=False).ids
        if not ids or ids[-1] not in self._added_tokens:
            raise WrongInput(
                "TemplateUnsuitable",
                "the tokenizer's chat template does not end the assistant's message with a special token "
                f"(but with {self._tokenizer.decode(ids[-3:])!r}), so the model would never learn to stop",
            )
        return int(ids[-1])

    @cached_property
    def _answered(self) -> str:
        try:
            return write(self.template, ANSWERED, prompting=False).rstrip()
        except Unwritable as error:
            raise WrongInput(
                "TemplateUnsuitable", f"the tokenizer's chat template cannot write a question and its answer: {error}"
            ) from error

    def control_token_in(self, text: str) -> str | None:
        """Give the first control token that a text has in it, spelled out; None if it has none.

        These are the special tokens, and what the chat template marks turns with, special or not. Written out in a
        message they would be read as such a mark. The marks of reasoning belong in an answer.
        """
        found = self._control_tokens.search(text)
        return None if found is None else found.group()

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        written = set(self._tokenizer.encode(self._answered, add_special_tokens=False).ids)
        control = {
            str(token.content)
            for number, token in self._added_tokens.items()
            if token.special or (number in written and not _is_word(token.content))
        }
        # Longest first: of two tokens that begin alike, tokenizers take the longer one.
        ordered = sorted(control - {REASONING_START, REASONING_END, ""}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    def token(self, token_id: int) -> str:
        """Give a token as its vocabulary has it."""
        return str(self._tokenizer.id_to_token(token_id))

    def samples(self, exchanges: Sequence[Exchange]) -> list[Sample]:
        """Tokenise many exchanges at once, on all processors.

        Prompt and completion are tokenised apart, as they are when the model is asked.
        """
        ids = self._encode([text for exchange in exchanges for text in (exchange.prompt, exchange.completion)])
        return [
            Sample(np.concatenate((prompt, completion)), len(prompt))
            for prompt, completion in zip(ids[::2], ids[1::2], strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """Give the ids of texts: the fast path where there is one, the tokenizer itself for what that leaves."""
        ids: dict[int, NDArray[np.int32]] = {}
        if self._fast is not None:
            slices = [texts[start : start + _TEXTS_OF_A_TASK] for start in range(0, len(texts), _TEXTS_OF_A_TASK)]
            for position, found in enumerate(chain.from_iterable(self._threads.map(self._fast.encode_all, slices))):
                if found is not None:
                    ids[position] = found.view(np.int32)
        left = [position for position in range(len(texts)) if position not in ids]
        encodings = self._tokenizer.encode_batch_fast([texts[position] for position in left], add_special_tokens=False)
        for position, encoding in zip(left, encodings, strict=True):
            ids[position] = np.array(encoding.ids, np.int32)
        return [ids[position] for position in range(len(texts))]

    @cached_property
    def _fast(self) -> FastEncoding | None:
        try:
            return fast_encoding(self._tokenizer)
        except NotTheSame as finding:
            logger.info("no fast path for the tokenizer in %s: %s", self._directory, finding)
            return None

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(available_cpus())

    def copy_to(self, directory: Path) -> None:
        """Copy the tokenizer's files."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            if (self._directory / name).is_file():
                shutil.copyfile(self._directory / name, directory / name)


def _is_word(token: str) -> bool:
    """Tell whether a token is what texts are made of, white space too: some tokenizers have such among the added."""
    return all(character.isalnum() or character.isspace() for character in token)


def _unfetched(directory: Path) -> str | None:
    """Say which file Git has left on its server for large ones, if one is."""
    for path in (directory / name for name in TOKENIZER_FILES):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_POINTER)) == _POINTER:
                    return f"{path.name} is a pointer of Git LFS instead of the file itself; run git lfs pull there"
    return None
