"""What the content of files is told by, and whether inputs still are what they were."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from distill_runtime.contract import ArtifactReference, InputFingerprint
from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.artifact import find_artifact, open_artifact
from distill_runtime.storage.volume import Volume

_HASHED_BYTES = 1 << 30
"""Files that are together no larger are read, the smallest first, which takes seconds at each start of a Pod."""
_LONGEST_VALUE = 200
_SHORT = 8


def fingerprint_files(files: Mapping[str, Path]) -> str:
    """Tell the content of files: of small ones by their sha256, of large ones by size and time of change.

    Args:
        files: by the names that are part of the content; links are followed.

    Returns:
        For a single small file its own sha256, as sha256sum gives it.
    """
    sizes = {name: path.stat().st_size for name, path in files.items()}
    small, total = [], 0
    for name in sorted(files, key=lambda name: (sizes[name], name)):
        total += sizes[name]
        if total <= _HASHED_BYTES:
            small.append(name)
    with ThreadPoolExecutor(available_cpus()) as threads:
        digests = dict(zip(small, threads.map(_sha256, (files[name] for name in small)), strict=True))
    return join_values({name: digests.get(name) or _size_and_time(path) for name, path in files.items()})


def fingerprint_artifact(name: str, reference: ArtifactReference) -> InputFingerprint:
    """Tell the content of an artifact, which is opened only if it is the one with this digest."""
    return InputFingerprint(name=name, uri=reference.uri, value=reference.digest)


def fingerprint_directory(name: str, uri: str, volume: Volume, patterns: Iterable[str]) -> InputFingerprint:
    """Tell the content of a directory: of an artifact by its digest, of any other by its files.

    Args:
        name: what it is to the stage.
        patterns: of the names of the files that matter.

    Raises:
        WrongInput: ArtifactDamaged. A directory that is not there is told as such; whoever reads it says more.
    """
    directory = volume.resolve(uri)
    try:
        found = find_artifact(volume, uri)
    except WrongInput:  # not an artifact
        found = None
    if found is not None:
        open_artifact(volume, found[0])
        return InputFingerprint(name=name, uri=uri, value=found[0].digest)
    paths = {path for pattern in patterns for path in directory.glob(pattern) if path.is_file()}
    files = {path.relative_to(directory).as_posix(): path for path in paths}
    return InputFingerprint(name=name, uri=uri, value=fingerprint_files(files) if files else "nothing")


def join_values(values: Mapping[str, str]) -> str:
    """Make one value of those of several parts, such as files; that of a single part stays as it is."""
    if len(values) == 1:
        (value,) = values.values()
        return shortened(value)
    listing = "".join(f"{name}\0{values[name]}\n" for name in sorted(values))
    return f"sha256:{hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()} of {len(values)} files"


def shortened(value: str) -> str:
    """Keep what somebody else has chosen, such as an ETag, short enough for a status."""
    if len(value) <= _LONGEST_VALUE:
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogateescape')).hexdigest()}"


@dataclass(frozen=True)
class Change:
    """An input that is not what it was."""

    before: InputFingerprint
    now: InputFingerprint

    def __str__(self) -> str:
        return f"{self.now.name} {self.now.uri} was {self.before.value}, and is {self.now.value} now"


def changes(recorded: Iterable[InputFingerprint], current: Iterable[InputFingerprint]) -> list[Change]:
    """Give the inputs that are others now. Those of which nothing is recorded, by an earlier version, are not."""
    before = {(each.name, each.uri): each for each in recorded}
    pairs = ((before.get((now.name, now.uri)), now) for now in current)
    return [Change(then, now) for then, now in pairs if then is not None and then.value != now.value]


def short_hash(fingerprints: Iterable[InputFingerprint]) -> str:
    """Give a few characters that stand for the content of all inputs."""
    listing = "".join(f"{each.name}\0{each.uri}\0{each.value}\n" for each in fingerprints)
    return hashlib.sha256(listing.encode()).hexdigest()[:_SHORT]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _size_and_time(path: Path) -> str:
    status = path.stat()
    changed = datetime.fromtimestamp(status.st_mtime_ns // 10**9, UTC)
    fraction = status.st_mtime_ns % 10**9
    return f"{status.st_size} bytes, changed {changed:%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"
