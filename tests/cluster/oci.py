"""OCI images: a layout on disk, and handing its images to a containerd, only what it does not have yet."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import ClusterError, run

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REFERENCE = "org.opencontainers.image.ref.name"
NAMESPACE = "k8s.io"


@dataclass(frozen=True)
class Image:
    """An image of a layout: its name, such as `localhost/npu-distill/operator:1a2b`, and its manifest's descriptor."""

    name: str
    descriptor: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return str(self.descriptor["digest"])


@dataclass(frozen=True)
class Layout:
    """An OCI image layout on disk."""

    folder: Path

    def images(self) -> tuple[Image, ...]:
        index = self.folder / "index.json"
        entries = json.loads(index.read_text())["manifests"] if index.exists() else []
        # A manifest whose name went to a newer one stays in the index, without a name.
        names = (entry.get("annotations", {}).get(REFERENCE) for entry in entries)
        return tuple(Image(name, _plain(entry)) for name, entry in zip(names, entries, strict=True) if name)

    def image(self, name: str) -> Image:
        for image in self.images():
            if image.name == name:
                return image
        raise ClusterError(f"image {name} is not in {self.folder}: run `make images`")

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def has(self, image: Image) -> bool:
        """Tells if all that an image consists of is in the layout: whatever filled it may have been killed."""
        return self.blob(image.digest).exists() and all(map(Path.exists, map(self.blob, self.digests(image))))

    def digests(self, image: Image) -> list[str]:
        """Returns the digests of all that an image consists of, its manifest first."""
        manifest = json.loads(self.blob(image.digest).read_text())
        return [image.digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def keep(self, names: set[str]) -> None:
        """Removes all images but those named, and every blob that none of them uses."""
        kept = [image for image in self.images() if image.name in names]
        self._write_index(kept)
        used = {digest for image in kept for digest in self.digests(image)}
        for path in (self.folder / "blobs/sha256").iterdir():
            if f"sha256:{path.name}" not in used:
                path.unlink()

    def add_program(self, name: str, program: Path) -> Image:
        """Adds an image that consists of one program without libraries."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo(program.name)
            entry.size, entry.mode = program.stat().st_size, 0o755
            with program.open("rb") as file:
                archive.addfile(entry, file)
        layer = self._add(buffer.getvalue(), LAYER)
        config = {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._add(_dump(config), CONFIG),
            "layers": [layer],
        }
        return self.name(name, self._add(_dump(manifest), MANIFEST))

    def name(self, name: str, descriptor: Mapping[str, Any]) -> Image:
        """Gives a name to the image of a manifest that is in the layout, taking the name from another that has it."""
        image = Image(name, descriptor)
        self._write_index([*(other for other in self.images() if other.name != name), image])
        return image

    def _add(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        self.blob(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _write_index(self, images: list[Image]) -> None:
        entries = [{**image.descriptor, "annotations": {REFERENCE: image.name}} for image in images]
        (self.folder / "oci-layout").write_bytes(_dump({"imageLayoutVersion": "1.0.0"}))
        (self.folder / "index.json").write_bytes(_dump({"schemaVersion": 2, "manifests": entries}))


@dataclass(frozen=True)
class Containerd:
    """A containerd's images, as Kubernetes sees them."""

    socket: Path

    def images(self) -> dict[str, str]:
        """Returns the digest of each image's manifest by the image's name."""
        rows = [line.split() for line in self._ctr("images", "list").splitlines()[1:]]
        return {row[0]: row[2] for row in rows if not row[0].startswith("sha256:")}

    def load(self, layout: Layout, images: list[Image]) -> list[Image]:
        """Imports the images that are not there yet and returns them."""
        present = self.images()
        wanted = [image for image in images if present.get(image.name) != image.digest]
        if wanted:
            self._import(layout, wanted)
        return wanted

    def remove_containers(self) -> None:
        """Removes all containers with their file systems; none may be running."""
        if names := self._ctr("containers", "list", "--quiet").split():
            self._ctr("containers", "remove", *names)

    def remove(self, names: list[str]) -> None:
        if names:
            self._ctr("images", "remove", *names)

    def _import(self, layout: Layout, images: list[Image]) -> None:
        present = set(self._ctr("content", "list", "--quiet").split())
        command = ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, "images", "import", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=False
        ) as importing:
            assert importing.stdin is not None
            assert importing.stdout is not None
            try:
                write_archive(layout, images, present, importing.stdin)
                importing.stdin.close()
            except BrokenPipeError:
                pass  # it says why itself, and exits with another code than 0
            said = importing.stdout.read().decode()
        if importing.returncode:
            raise ClusterError(f"importing {', '.join(image.name for image in images)} into {self.socket}: {said}")

    def _ctr(self, *words: str) -> str:
        return run(["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, *words])


def write_archive(layout: Layout, images: list[Image], present: set[str], output: IO[bytes]) -> None:
    """Writes images as an archive that containerd imports, without the blobs in `present`, which it has."""
    entries = [
        {**image.descriptor, "annotations": {"io.containerd.image.name": image.name, REFERENCE: image.name}}
        for image in images
    ]
    with tarfile.open(fileobj=output, mode="w|") as archive:
        for name, content in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": entries}),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(_dump(content))
            archive.addfile(entry, io.BytesIO(_dump(content)))
        for digest in _missing(layout, images, present):
            archive.add(layout.blob(digest), f"blobs/{digest.replace(':', '/')}")


def _missing(layout: Layout, images: list[Image], present: set[str]) -> Iterator[str]:
    digests = dict.fromkeys(digest for image in images for digest in layout.digests(image))
    return (digest for digest in digests if digest not in present)


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("mediaType", "digest", "size")}


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
