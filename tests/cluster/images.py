"""Building the images with buildah, without a registry, into the OCI layout that the nodes are loaded from."""

import configparser
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
class Recipe:
    """An image that is built here: its name, its Dockerfile's folder, and all that decides what comes out."""

    name: str
    folder: str
    sources: tuple[str, ...]

    @property
    def repository(self) -> str:
        return f"{PREFIX}/{self.name}"

    @property
    def tag(self) -> str:
        """The tag of the image as it would be built now: a digest of everything that it is built from."""
        digest = hashlib.sha256(os.environ.get("BASE_IMAGE", "").encode())
        for path in _files(self.sources):
            digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    @property
    def full_name(self) -> str:
        return f"{self.repository}:{self.tag}"


SHIPPED = tuple(Recipe(name, f"images/{name}", SOURCES) for name in NAMES)
"""Ours. They are released together, so they share a tag; a chart that is given it rolls the operator when anything
changes."""
MLX_LM = Recipe("mlx-lm", "tests/servers/mlx-lm", ("tests/servers/mlx-lm",))
"""A server that is somebody else's, for tests only."""
RECIPES = (*SHIPPED, MLX_LM)


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


def shipped_tag() -> str:
    """Returns the tag that our images share, as they would be built now."""
    return SHIPPED[0].tag


def _files(sources: Sequence[str]) -> Iterator[Path]:
    for source in sources:
        path = REPOSITORY / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def build_images(settings: Settings, recipes: Sequence[Recipe], say: Callable[[str], None]) -> list[Image]:
    """Builds those of the images that are not built yet and returns all, under their tags and under `dev`."""
    layout = Layout(settings.image_layout)
    names = {recipe: recipe.full_name for recipe in RECIPES}
    missing = [recipe for recipe in recipes if not _complete(layout, names[recipe], _latest(recipe))]
    if missing:
        check_machine()
        install(IMAGE_PACKAGES, say)
        builder = Builder(settings.cache / "images/buildah")
        builder.tidy()
        base = os.environ.get("BASE_IMAGE") or _local_base(builder, say)
        for recipe in missing:
            _build(builder, base, recipe, names[recipe], say)
            with signs_of_life(f"storing {recipe.name}", say):
                builder.copy(names[recipe], layout)
            layout.name(_latest(recipe), layout.image(names[recipe]).descriptor)
        current = {*names.values(), *map(_latest, RECIPES)}
        _forget(builder, current)
        layout.keep({*current, PAUSE})
    return [layout.image(name) for recipe in recipes for name in (names[recipe], _latest(recipe))]


def _latest(recipe: Recipe) -> str:
    return f"{recipe.repository}:{LATEST}"


def _complete(layout: Layout, name: str, latest: str) -> bool:
    present = {image.name: image for image in layout.images()}
    image, same = present.get(name), present.get(latest)
    return image is not None and same is not None and image.digest == same.digest and layout.has(image)


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


def _build(builder: Builder, base: str, recipe: Recipe, full_name: str, say: Callable[[str], None]) -> None:
    dockerfile = REPOSITORY / recipe.folder / "Dockerfile"
    say(f"building {full_name}")
    with tempfile.TemporaryDirectory() as folder, signs_of_life(f"building {recipe.name}", say):
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
    log = builder.store / f"{recipe.name}.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        last = "\n".join(log.read_text().strip().splitlines()[-20:])
        raise ClusterError(f"building {full_name} from {dockerfile} failed (all of it: {log}):\n{last}")


def _forget(builder: Builder, current: set[str]) -> None:
    """Removes images of earlier code from buildah's store; the layers that today's share with them stay."""
    ours = {recipe.repository for recipe in RECIPES}
    earlier = {name for name in builder.tags() - current if name.rpartition(":")[0] in ours}
    if earlier:
        builder.run("rmi", *sorted(earlier))


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
