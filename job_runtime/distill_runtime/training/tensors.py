"""safetensors files, read and written by their headers: tensors are copied in pieces, so their size does not matter.

Format (https://github.com/huggingface/safetensors): eight bytes with the header's length, little-endian; the header,
a JSON object of name to dtype, shape and offsets into what follows; the tensors' bytes, one after another.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.rounding import TooLarge, round_values

_LENGTH: Final = struct.Struct("<Q")
_METADATA: Final = "__metadata__"
_HEADER_LIMIT: Final = 100_000_000
"""Longest header in bytes; the reference implementation's own limit."""
COPY_BYTES: Final = 16 << 20
"""How much of a tensor is held at once."""
_ROUNDED: Final = (("F32", "F16"), ("F32", "BF16"))
"""From which dtype to which values are rounded."""


Chunk = bytes
"""Some of a tensor's bytes; `Tensor` has a field of that name."""


class Content(Protocol):
    """A tensor that can be written, wherever its bytes are."""

    @property
    def dtype(self) -> str:
        """Of its values, as safetensors calls it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of it."""

    @property
    def bytes(self) -> int:
        """How many it has."""

    def chunks(self) -> Iterator[Chunk]:
        """Read it in pieces of whole values."""


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: where its bytes are and what they mean.

    Attributes:
        file: that has it.
        dtype: of its values, as safetensors calls it.
        shape: of it.
        start: where it starts in the file.
        bytes: how many it has there.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    def chunks(self) -> Iterator[Chunk]:
        """Read it in pieces of whole values."""
        with self.file.open("rb") as source:
            source.seek(self.start)
            for start in range(0, self.bytes, COPY_BYTES):
                wanted = min(COPY_BYTES, self.bytes - start)
                chunk = source.read(wanted)
                if len(chunk) < wanted:
                    raise TornFile(f"{self.file} ended {self.bytes - start - len(chunk)} bytes early")
                yield chunk


@dataclass(frozen=True)
class Rounded:
    """A float32 tensor with its values rounded to F16 or BF16."""

    content: Content
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of it."""
        return self.content.shape

    @property
    def bytes(self) -> int:
        """How many it has."""
        return self.content.bytes // 2

    def chunks(self) -> Iterator[Chunk]:
        """Read it in pieces of whole values.

        Raises:
            TooLarge: for a value that is beyond the dtype.
        """
        for chunk in self.content.chunks():
            yield round_values(chunk, self.dtype)


def rounded(content: Content, dtype: str) -> Content:
    """Have float32 values rounded to F16 or BF16; others stay as they are, as everything does for F32."""
    return Rounded(content, dtype) if (content.dtype, dtype) in _ROUNDED else content


class TornFile(ValueError):  # noqa: N818 - says what the file is
    """The file is no whole safetensors file, as after a write that was cut short."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the header of a file: its tensors by name, in the order in which they are stored.

    Raises:
        TornFile: if the file is shorter or longer than its header says, or has no header.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(_LENGTH.size)
        length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else 0
        if not 0 < length <= min(_HEADER_LIMIT, size):
            raise TornFile(f"{path} has no safetensors header")
        text = file.read(length)
    try:
        header = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != _METADATA}
        body = _LENGTH.size + length
        tensors = {name: _parse(path, body, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TornFile(f"{path} has a damaged safetensors header") from error
    end = max((tensor.start + tensor.bytes for tensor in tensors.values()), default=body)
    if end != size:
        raise TornFile(f"{path} has {size} bytes, its header announces {end}")
    return dict(sorted(tensors.items(), key=lambda item: item[1].start))


def read_directory(directory: Path) -> dict[str, Tensor]:
    """Read the headers of all safetensors files of a model directory.

    Raises:
        WrongInput: WeightsMissing or WeightsDamaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            tensors.update(read_tensors(path))
        except TornFile as error:
            raise WrongInput("WeightsDamaged", f"{error}; download or copy the file again") from error
    if not tensors:
        raise WrongInput(
            "WeightsMissing",
            f"there is no *.safetensors in {directory}; download the weights, convert them to safetensors, or set "
            "model.initialization to random to train from scratch",
        )
    return tensors


def write_sharded(tensors: Mapping[str, Content], directory: Path, shard_bytes: int) -> list[Path]:
    """Copy tensors into a model directory under new names, in files of at most `shard_bytes` each.

    One file is called model.safetensors; several are numbered and listed in model.safetensors.index.json, as
    transformers loads them. A tensor larger than `shard_bytes` has a file of its own.

    Raises:
        WrongInput: as `write_tensors`.
    """
    shards = list(_split(tensors, shard_bytes))
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(shard, directory / name)
    if len(shards) > 1:
        file_of = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        write_index(file_of, sum(tensor.bytes for tensor in tensors.values()), directory)
    return [directory / name for name in names]


def write_index(file_of: Mapping[str, str], total_bytes: int, directory: Path) -> None:
    """Write which file of a model directory has which tensor, as transformers and MindFormers look for it."""
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(file_of)}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (directory / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def write_tensors(tensors: Mapping[str, Content], path: Path) -> None:
    """Copy tensors into one file under the names they are given.

    Raises:
        WrongInput: WeightsTooLarge, for a value that is beyond the dtype that it is to be rounded to.
    """
    header: dict[str, Any] = {_METADATA: {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)  # the tensors start at a multiple of eight bytes
    with path.open("wb") as target:
        target.write(_LENGTH.pack(len(text)) + text)
        for name, tensor in tensors.items():
            try:
                target.writelines(tensor.chunks())
            except TooLarge as error:
                raise WrongInput(
                    "WeightsTooLarge",
                    f"{name} has the value {error}, which {tensor.dtype} cannot hold and every server would compute "
                    "infinities from; set torch_dtype in the config.json of model.uri to float32, or to bfloat16, "
                    "which holds larger values",
                ) from error


def _split(tensors: Mapping[str, Content], shard_bytes: int) -> Iterator[dict[str, Content]]:
    shard: dict[str, Content] = {}
    size = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.bytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.bytes
    if shard:
        yield shard


def _parse(path: Path, body: int, entry: Mapping[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    shape = cast("Iterable[int]", entry["shape"])
    return Tensor(file=path, dtype=entry["dtype"], shape=tuple(shape), start=body + start, bytes=end - start)
