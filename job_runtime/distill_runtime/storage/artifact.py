"""Artifacts on the volume: written under a temporary name, described by a manifest, renamed last.

`contract.artifact` says what an artifact is; this module writes, finds and opens them. A directory whose name lacks
the suffix `.partial` is complete, because nothing but the final rename creates it. What a stage needs only while it
works, such as its checkpoint, is in `<output>.work` beside it, and goes when the artifact is complete.
"""

import hashlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError

from distill_runtime.contract import (
    ArtifactFile,
    ArtifactReference,
    Contract,
    InputFingerprint,
    Manifest,
    identity,
)
from distill_runtime.contract.artifact import MANIFEST_NAME, PARTIAL_SUFFIX
from distill_runtime.contract.comparison import Judgement
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.volume import Volume

_HASHING_THREADS = min(8, os.cpu_count() or 1)
_WORK_SUFFIX = ".work"
_CONTRACT_NAME = "contract.json"
"""Kept in a partial directory to tell which parameters it was begun with."""
_INPUTS_NAME = "inputs.json"
"""Kept beside it to tell what the inputs were."""
_RECORDS = (_CONTRACT_NAME, _INPUTS_NAME)
_FINGERPRINTS: TypeAdapter[tuple[InputFingerprint, ...]] = TypeAdapter(tuple[InputFingerprint, ...])


class ArtifactWriter:
    """The unfinished artifact of a contract.

    Args:
        volume: where it is written.
        contract: whose `output` it is; everything else in it is recorded as the artifact's parameters.
        fingerprints: of the inputs, recorded before anything is made of them.

    Attributes:
        directory: `<output>.partial`. It exists, and it holds what an earlier Pod of the same stage left there.
        work: `<output>.work`, which a stage makes if it needs it; no part of the artifact.

    Raises:
        WrongInput: OutputTaken, if the directory holds work that was begun with other parameters.
    """

    def __init__(self, volume: Volume, contract: Contract, fingerprints: Iterable[InputFingerprint] = ()) -> None:
        self._volume = volume
        self._contract = contract
        self._fingerprints = tuple(fingerprints)
        self._complete = volume.resolve(contract.output)
        self.directory = partial_directory(self._complete)
        self.work = work_directory(self._complete)
        if not self.directory.exists():
            discard_work(self._complete)  # of a partial artifact that was removed to start over
        self.directory.mkdir(parents=True, exist_ok=True)
        begun_with = partial_parameters(self.directory)
        if begun_with is None or not _is_same_work(contract, begun_with):
            if begun_with is not None and self._holds_work():
                raise _taken(volume.relative(self.directory))
            write_durably(self.directory / _CONTRACT_NAME, contract.model_dump_json(by_alias=True).encode())
        if recorded_inputs(self.directory) != self._fingerprints:
            content = _FINGERPRINTS.dump_json(self._fingerprints, by_alias=True)
            write_durably(self.directory / _INPUTS_NAME, content)

    def finish(
        self,
        counts: Mapping[str, int],
        metrics: Mapping[str, float],
        inputs: Iterable[ArtifactReference] = (),
        versions: Mapping[str, str] = MappingProxyType({}),
        noted: Iterable[InputFingerprint] = (),
        judgement: Judgement | None = None,
    ) -> ArtifactReference:
        """Make the artifact complete, durably, with every file that is in `directory` now, and remove `work`.

        Until then `work` stays: who is killed while tens of gigabytes are hashed finds its checkpoint again.

        Args:
            counts: what went in, what came out, what was rejected, by reason.
            metrics: measured figures.
            inputs: the artifacts that were read.
            versions: of installed packages that matter to the content (see `versions_of`).
            noted: fingerprints of what may be another the next time.
            judgement: what the stage compare has found.
        """
        manifest_path = self.directory / MANIFEST_NAME
        # An earlier attempt to finish may have been killed half-way through the manifest.
        manifest_path.unlink(missing_ok=True)
        _temporary(manifest_path).unlink(missing_ok=True)
        records = [self.directory / name for name in _RECORDS]
        paths = sorted(path for path in self.directory.rglob("*") if path.is_file() and path not in records)
        with ThreadPoolExecutor(_HASHING_THREADS) as threads:
            files = tuple(threads.map(self._describe, paths))
        manifest = Manifest(
            stage=self._contract.stage,
            files=files,
            counts=dict(counts),
            metrics=dict(metrics),
            parameters=self._contract.model_dump(mode="json", by_alias=True, exclude_none=True),
            inputs=tuple(inputs),
            fingerprints=(*self._fingerprints, *noted),
            judgement=judgement,
            versions={
                "python": platform.python_version(),
                "npu-distill": own_version(),
                **versions,
            },
        )
        content = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode()
        write_durably(manifest_path, content)
        for path in records:
            path.unlink(missing_ok=True)
        for directory in (*(path for path in self.directory.rglob("*") if path.is_dir()), self.directory):
            _fsync_directory(directory)
        self.directory.rename(self._complete)
        _fsync_directory(self._complete.parent)
        discard_work(self._complete)
        return ArtifactReference(uri=self._volume.relative(self._complete), digest=_digest(content))

    def _holds_work(self) -> bool:
        files = (path for directory in (self.directory, self.work) for path in directory.rglob("*") if path.is_file())
        return any(path.stat().st_size for path in files if path.name not in _RECORDS)

    def _describe(self, path: Path) -> ArtifactFile:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        return ArtifactFile(path=path.relative_to(self.directory).as_posix(), bytes=size, sha256=f"sha256:{digest}")


def partial_directory(complete: Path) -> Path:
    """Give the directory in which the artifact `complete` is written."""
    return complete.with_name(complete.name + PARTIAL_SUFFIX)


def work_directory(complete: Path) -> Path:
    """Give the directory of what is needed only until the artifact `complete` is."""
    return complete.with_name(complete.name + _WORK_SUFFIX)


def discard_work(complete: Path) -> None:
    """Remove what is of no use any more, now that the artifact `complete` is, or is begun anew."""
    work = work_directory(complete)
    if work.exists():
        shutil.rmtree(work)


def partial_parameters(directory: Path) -> bytes | None:
    """Read the contract, as JSON, that a partial directory was begun with; None if it holds none yet."""
    try:
        return (directory / _CONTRACT_NAME).read_bytes()
    except FileNotFoundError:
        return None


def recorded_inputs(directory: Path) -> tuple[InputFingerprint, ...]:
    """Read what the inputs were when a partial directory was begun; nothing, if an earlier version began it."""
    try:
        return _FINGERPRINTS.validate_json((directory / _INPUTS_NAME).read_bytes(), extra="ignore")
    except FileNotFoundError:
        return ()


def find_artifact(volume: Volume, uri: str) -> tuple[ArtifactReference, Manifest] | None:
    """Find the complete artifact at a path of the volume; None if it does not exist (yet).

    Raises:
        WrongInput: NotAnArtifact, if there is a directory that no stage finished.
    """
    directory = volume.resolve(uri)
    if not directory.exists():
        return None
    content, manifest = _read_manifest(volume, directory)
    return ArtifactReference(uri=volume.relative(directory), digest=_digest(content)), manifest


def find_complete(volume: Volume, contract: Contract) -> tuple[ArtifactReference, Manifest] | None:
    """Find the artifact that a contract asks for; None if it is still to be made.

    Raises:
        WrongInput: OutputTaken, if the output holds an artifact made with other parameters.
    """
    found = find_artifact(volume, contract.output)
    if found is not None and not _is_same_work(contract, found[1].parameters):
        raise _taken(contract.output)
    return found


def open_artifact(volume: Volume, reference: ArtifactReference) -> tuple[Path, Manifest]:
    """Open an artifact that a stage reads: it must be the one it was planned with, and whole.

    The digest of the manifest and the presence and size of every file are checked, which costs next to nothing;
    `verify_content` checks the bytes.

    Raises:
        WrongInput: ArtifactMissing, NotAnArtifact, ArtifactChanged or ArtifactDamaged.
    """
    directory = volume.resolve(reference.uri)
    if not directory.exists():
        raise WrongInput(
            "ArtifactMissing",
            f"there is no {reference.uri} on the volume; run the stage that writes it, or correct the reference",
        )
    content, manifest = _read_manifest(volume, directory)
    if (digest := _digest(content)) != reference.digest:
        raise WrongInput(
            "ArtifactChanged",
            f"{reference.uri} is not the artifact that was planned with: expected digest {reference.digest}, "
            f"found {digest}; file a new object that refers to the new artifact",
        )
    for file in manifest.files:
        path = directory / file.path
        size = path.stat().st_size if path.is_file() else None
        if size != file.bytes:
            found = "is missing" if size is None else f"has {size} bytes"
            raise _damaged(f"{reference.uri}/{file.path} {found}, {file.bytes} were written")
    return directory, manifest


def verify_content(directory: Path, manifest: Manifest) -> None:
    """Read every file of an artifact and compare its sha256 with the manifest's.

    Raises:
        WrongInput: ArtifactDamaged.
    """

    def digest(file: ArtifactFile) -> str:
        with (directory / file.path).open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        for file, found in zip(manifest.files, threads.map(digest, manifest.files), strict=True):
            if found != file.sha256:
                raise _damaged(f"{directory / file.path} has {found}, {file.sha256} was written")


def _read_manifest(volume: Volume, directory: Path) -> tuple[bytes, Manifest]:
    try:
        content = (directory / MANIFEST_NAME).read_bytes()
        return content, Manifest.model_validate_json(content, extra="ignore")
    except (FileNotFoundError, NotADirectoryError, ValidationError) as error:
        raise WrongInput(
            "NotAnArtifact",
            f"{volume.relative(directory)} exists but has no valid {MANIFEST_NAME}, so no stage finished it; "
            "remove it or name another path",
        ) from error


def _is_same_work(contract: Contract, recorded: bytes | Mapping[str, object]) -> bool:
    """Tell whether two contracts ask for the same artifact.

    The recorded one is parsed first, so that a field added to the contract since then counts with its default.
    """
    try:
        if isinstance(recorded, bytes):
            other = type(contract).model_validate_json(recorded)
        else:
            other = type(contract).model_validate(recorded)
    except ValidationError:
        return False
    return identity(contract) == identity(other)


def _taken(uri: str) -> WrongInput:
    return WrongInput(
        "OutputTaken",
        f"{uri} was made with other parameters than these; remove it or choose another output",
    )


def _damaged(what: str) -> WrongInput:
    return WrongInput("ArtifactDamaged", f"{what}; restore the file or make the artifact again")


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Give the versions of installed packages."""
    return {name: importlib.metadata.version(name) for name in packages}


def own_version() -> str:
    """Give the version of npu-distill."""
    try:
        return importlib.metadata.version("npu-distill")
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_durably(path: Path, content: bytes | bytearray) -> None:
    """Write a file that is either absent or whole, also after a power failure."""
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
