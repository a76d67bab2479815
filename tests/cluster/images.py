"""Building the images with buildah, without a registry, into the OCI layout that the nodes are loaded from."""

import configparser
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .build import signs_of_life
from .errors import ClusterError, run
from .nodes import PAUSE
from .oci import Image, Layout
from .prerequisites import IMAGE_PACKAGES, check_machine, install
from .settings import REPOSITORY, Settings

PREFIX = "localhost/npu-distill"  # a name that no node ever asks a registry for
NAMES = ("operator", "runtime", "teacher")
LATEST = "dev"
LOCAL_BASE = f"{PREFIX}/python:3.11-bookworm"
# What buildah mounts, it may leave mounted: in a mount namespace of its own, only until it ends.
ALONE = ("unshare", "--mount", "--propagation", "private", "--")
CERTIFICATES = Path("/etc/ssl/certs")
SOURCES = (
    "images",
    "pyproject.toml",
    "requirements.lock",
    "operator/distill_operator",
    "job_runtime/distill_runtime",
    "examples/arithmetic/teacher",
)
# What python:3.11-slim-bookworm has and our Dockerfiles count on.
BASE_PACKAGES = "python3,python3-venv,ca-certificates,netbase,tzdata"


@dataclass(frozen=True)
class Builder:
    """buildah with a store of its own in the cache."""

    store: Path

    def run(self, command: str, *words: str) -> str:
        """Runs one of buildah's commands and returns its stdout."""
        return run(self.command(command, *words), environment=self.environment)

    def command(self, command: str, *words: str) -> list[str]:
        places = ("--root", str(self.store / "storage"), "--runroot", str(self.store / "run"))
        return [*ALONE, "buildah", "--storage-driver", "overlay", *places, command, *words]

    def copy(self, name: str, layout: Layout) -> None:
        """Copies an image into a layout, uncompressed: a layer that is there is then known by its digest, and not read.

        By skopeo, because buildah's own push compresses every layer every time.
        """
        source = f"containers-storage:[overlay@{self.store}/storage+{self.store}/run]{name}"
        run(
            [
                *ALONE,
                "skopeo",
                "copy",
                "--quiet",
                "--dest-oci-accept-uncompressed-layers",
                source,
                f"oci:{layout.folder}:{name}",
            ]
        )

    @property
    def environment(self) -> dict[str, str]:
        # chroot needs neither a network namespace nor cgroups of the build's own.
        return {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self._scratch)}

    @property
    def _scratch(self) -> Path:
        return self.store / "scratch"

    def tidy(self) -> None:
        """Removes what builds that failed or were killed left in the store."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        self.run("rm", "--all")

    def tags(self) -> set[str]:
        """Returns the full names of all images in the store."""
        names = self.run("images", "--format", "{{.Name}}:{{.Tag}}").split()
        return {name for name in names if "<none>" not in name}


def tag() -> str:
    """Returns the tag of the images as they would be built now: a digest of everything they are built from.

    Images are released together, so they share it; a chart that is given it rolls the operator when anything changes.
    """
    digest = hashlib.sha256(os.environ.get("BASE_IMAGE", "").encode())
    for path in _source_files():
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _source_files() -> Iterator[Path]:
    for source in SOURCES:
        path = REPOSITORY / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def build_images(settings: Settings, wanted: str, say: Callable[[str], None]) -> list[Image]:
    """Builds the images that are not built yet and returns all, under the tag that is `wanted` and under `dev`."""
    names = [f"{PREFIX}/{name}:{each}" for each in (wanted, LATEST) for name in NAMES]
    layout = Layout(settings.image_layout)
    if not _complete(layout, wanted):
        check_machine()
        install(IMAGE_PACKAGES, say)
        builder = Builder(settings.cache / "images/buildah")
        builder.tidy()
        base = os.environ.get("BASE_IMAGE") or _local_base(builder, say)
        for name in NAMES:
            _build(builder, base, name, wanted, say)
            full_name = f"{PREFIX}/{name}:{wanted}"
            with signs_of_life(f"storing {name}", say):
                builder.copy(full_name, layout)
            layout.name(f"{PREFIX}/{name}:{LATEST}", layout.image(full_name).descriptor)
        _forget(builder, names)
        layout.keep({*names, PAUSE})
    return [layout.image(name) for name in names]


def _complete(layout: Layout, wanted: str) -> bool:
    present = {image.name: image for image in layout.images()}
    for name in NAMES:
        image, latest = (present.get(f"{PREFIX}/{name}:{each}") for each in (wanted, LATEST))
        if image is None or latest is None or image.digest != latest.digest or not layout.has(image):
            return False
    return True


def _local_base(builder: Builder, say: Callable[[str], None]) -> str:
    """Returns an image of Debian's own Python 3.11, made here, which stands in for python:3.11-slim-bookworm."""
    if LOCAL_BASE not in builder.tags():
        say("making the base image from Debian's packages")
        with tempfile.TemporaryDirectory() as folder, signs_of_life("making the base image", say):
            archive = f"{folder}/base.tar"
            unwanted = ("man", "locale", "info", "doc")
            excluded = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in unwanted]
            included = ["--dpkgopt=path-include=/usr/share/doc/*/copyright", f"--include={BASE_PACKAGES}"]
            run(["mmdebstrap", "--variant=minbase", *excluded, *included, "bookworm", archive])
            container = builder.run("from", "scratch").strip()
            builder.run("add", "--quiet", container, archive, "/")
        builder.run("config", "--env", "LANG=C.UTF-8", "--cmd", "python3", container)
        builder.run("commit", "--quiet", "--rm", container, LOCAL_BASE)
    return LOCAL_BASE


def _build(builder: Builder, base: str, name: str, wanted: str, say: Callable[[str], None]) -> None:
    dockerfile = REPOSITORY / "images" / name / "Dockerfile"
    full_name = f"{PREFIX}/{name}:{wanted}"
    say(f"building {full_name}")
    with tempfile.TemporaryDirectory() as folder, signs_of_life(f"building {name}", say):
        configuration = Path(folder) / "pip.conf"
        configuration.write_text(pip_configuration(os.environ))
        # Mounted while it builds: neither the host's certificates nor its index end up in a layer.
        volumes = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--volume", f"{configuration}:/etc/pip.conf:ro"]
        command = builder.command(
            "build",
            "--layers",
            *volumes,
            f"--build-arg=BASE_IMAGE={base}",
            f"--ignorefile={dockerfile}.dockerignore",
            f"--file={dockerfile}",
            f"--tag={full_name}",
            str(REPOSITORY),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=builder.environment)
    log = builder.store / f"{name}.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        last = "\n".join(log.read_text().strip().splitlines()[-20:])
        raise ClusterError(f"building {full_name} from {dockerfile} failed (all of it: {log}):\n{last}")


def _forget(builder: Builder, names: list[str]) -> None:
    """Removes images of earlier code from buildah's store; the layers that today's share with them stay."""
    earlier = {name for name in builder.tags() - set(names) if name.rpartition(":")[0] in _repositories()}
    if earlier:
        builder.run("rmi", *sorted(earlier))


def _repositories() -> set[str]:
    return {f"{PREFIX}/{name}" for name in NAMES}


def pip_configuration(environment: Mapping[str, str]) -> str:
    """Returns the host's pip configuration, its files' and its variables', as the text of one file."""
    merged = configparser.RawConfigParser()
    home = Path(environment.get("HOME", "/root"))
    merged.read([Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"])
    if not merged.has_section("global"):
        merged.add_section("global")
    for option in ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout"):
        value = environment.get(f"PIP_{option.upper().replace('-', '_')}")
        if value:
            merged.set("global", option, value)
    # Without it pip trusts its own list of authorities, not the host's, which is mounted.
    merged.set("global", "cert", str(CERTIFICATES / "ca-certificates.crt"))
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in merged.items(section))
        for section in merged.sections()
    )
