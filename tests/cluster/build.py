"""Building the cluster's programs from their Go modules, once for each content of what they are built from."""

import contextlib
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .prerequisites import go_program
from .settings import Settings

SOURCES = Path(__file__).parent / "programs"
KUBERNETES = "1.34.4"
SECONDS_BETWEEN_SIGNS_OF_LIFE = 15


@dataclass(frozen=True)
class Build:
    """One run of Go: what it makes, from a folder of `programs` or from a published module.

    With both, the module is built in the version that the folder's go.mod names.
    """

    name: str
    programs: tuple[str, ...]
    folder: str | None = None
    module: str | None = None
    linker_flags: str = ""
    links: tuple[str, ...] = ()
    minutes: str = ""

    @property
    def command(self) -> list[str]:
        verb = ["build", "-o", "{output}"] if self.folder else ["install"]
        return [*verb, "-trimpath", "-ldflags", f"-s -w {self.linker_flags}".strip(), self.module or "./..."]

    def inputs(self) -> str:
        """Returns the digest of all that decides what comes out."""
        digest = hashlib.sha256(repr((self.command, self.programs, self.links)).encode())
        if self.folder:
            for path in sorted(path for path in (SOURCES / self.folder).rglob("*") if path.is_file()):
                digest.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes() + b"\0")
        return digest.hexdigest()


VERSION = "k8s.io/component-base/version"
HELM = Build("Helm", ("helm",), module="helm.sh/helm/v4/cmd/helm@v4.2.1", minutes="2 minutes")
BUILDS = (
    Build(
        f"Kubernetes {KUBERNETES}",
        programs=("kubernetes",),
        folder="kubernetes",
        linker_flags=f"-X {VERSION}.gitVersion=v{KUBERNETES} -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor=34",
        links=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"),
        minutes="6 minutes",
    ),
    Build("the cluster's tools", ("kstatus", "pause", "provisioner"), folder="tools", minutes="2 minutes"),
    Build("CoreDNS", ("coredns",), folder="coredns", minutes="1 minute"),
    HELM,
)


def build(settings: Settings, say: Callable[[str], None], builds: Iterable[Build] = BUILDS) -> None:
    """Builds what is not there or was built from other inputs, into the programs' folder of the cache."""
    settings.programs.mkdir(parents=True, exist_ok=True)
    for wanted in builds:
        stamp = settings.programs / f".{wanted.programs[0]}.inputs"
        inputs = wanted.inputs()
        present = all((settings.programs / program).exists() for program in wanted.programs)
        if present and stamp.exists() and stamp.read_text() == inputs:
            continue
        say(f"building {wanted.name} (about {wanted.minutes} on 2 cores the first time)")
        with signs_of_life(f"building {wanted.name}", say):
            _run_go(settings, wanted)
        for link in wanted.links:
            (settings.programs / link).unlink(missing_ok=True)
            (settings.programs / link).symlink_to(wanted.programs[0])
        stamp.write_text(inputs)


def _run_go(settings: Settings, wanted: Build) -> None:
    # A fresh folder, moved over the old programs at the end: a running cluster keeps what it runs.
    output = settings.programs / f".{wanted.programs[0]}.new"
    output.mkdir(exist_ok=True)
    command = [go_program(), *(word.format(output=f"{output}/") for word in wanted.command)]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(output), "GOFLAGS": "-buildvcs=false"}
    folder = SOURCES / wanted.folder if wanted.folder else output
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise ClusterError(f"building {wanted.name} failed; `{' '.join(command)}` in {folder} says:\n{last}")
    for program in wanted.programs:
        (output / program).replace(settings.programs / program)
    output.rmdir()


@contextlib.contextmanager
def signs_of_life(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Says every quarter of a minute that something still goes on and how long it has taken."""
    began = time.monotonic()
    over = threading.Event()

    def speak() -> None:
        while not over.wait(SECONDS_BETWEEN_SIGNS_OF_LIFE):
            say(f"{what}: {time.monotonic() - began:.0f} s so far")

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()
