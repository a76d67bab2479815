"""Tensors whose bytes stand in pieces among others', read in pieces as well: their size does not matter."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distill_runtime.training.tensors import COPY_BYTES, Chunk, TornFile


@dataclass(frozen=True)
class Strip:
    """Bytes at a regular distance in a file.

    Attributes:
        file: that has them.
        start: where the first stand in it.
        length: how many stand together.
        stride: from the start of some to that of the next.
    """

    file: Path
    start: int
    length: int
    stride: int


@dataclass(frozen=True)
class Woven:
    """A tensor that is made of strips in turns: the first of each, then the second of each, and so on.

    Attributes:
        dtype: of its values, as safetensors calls it.
        shape: of it.
        strips: that it is made of.
        turns: how often it takes some of each.
    """

    dtype: str
    shape: tuple[int, ...]
    strips: tuple[Strip, ...]
    turns: int

    @property
    def bytes(self) -> int:
        """How many it has."""
        return self.turns * sum(strip.length for strip in self.strips)

    def chunks(self) -> Iterator[Chunk]:
        """Read it in pieces of whole values."""
        files = {strip.file for strip in self.strips}
        descriptors = {file: os.open(file, os.O_RDONLY) for file in files}
        try:
            chunk = bytearray()
            for turn in range(self.turns):
                for strip in self.strips:
                    chunk += _read(descriptors[strip.file], strip, turn)
                if len(chunk) >= COPY_BYTES:
                    yield Chunk(chunk)
                    chunk.clear()
            yield Chunk(chunk)
        finally:
            for descriptor in descriptors.values():
                os.close(descriptor)


def _read(descriptor: int, strip: Strip, turn: int) -> bytes:
    content = os.pread(descriptor, strip.length, strip.start + turn * strip.stride)
    if len(content) < strip.length:
        raise TornFile(f"{strip.file} ended {strip.length - len(content)} bytes early")
    return content
