"""The controllers that are measured: each a process on a control plane of its own, accounted for by the kernel."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench._api_client import Manifest, until
from bench._control_plane import NAMESPACE, ControlPlane
from tests.cluster.build import SOURCES, Build
from tests.cluster.errors import run
from tests.cluster.prerequisites import go_program
from tests.cluster.processes import Program, tail
from tests.harness.installation import CHART, REPOSITORY

READY_SECONDS = 600.0
_JOBSET_MODULE = "sigs.k8s.io/jobset"
JOBSET = Build("JobSet", ("jobset",), folder="jobset", module=_JOBSET_MODULE, minutes="3 minutes")


@dataclass(frozen=True)
class Controller:
    """A controller's process.

    Attributes:
        user: as whom it asks the API server.
        url: of its own HTTP server.
    """

    user: str
    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def processor_seconds(self) -> float:
        """Give the user and system time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """Give the largest resident set that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def ready(self) -> None:
        """Wait until it says that it is ready."""

        async def answers() -> bool:
            return await self._get("/readyz") is not None

        await until(f"{self.user} to be ready", READY_SECONDS, answers, pause=0.05)

    async def metric(self, name: str, **labels: str) -> float:
        """Give the value of its only sample of this name with these labels; not a number while there is none."""
        text = await self._get("/metrics") or ""
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        named = (each.value for each in samples if each.name == name and labels.items() <= each.labels.items())
        return next(named, math.nan)

    async def _get(self, path: str) -> str | None:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.user} has ended")
        try:
            async with aiohttp.ClientSession(self.url) as session, session.get(path) as response:
                return await response.text() if response.ok else None
        except aiohttp.ClientConnectionError:
            return None


@contextmanager
def operator(plane: ControlPlane) -> Iterator[Controller]:
    """Run the operator of this tree, configured as the chart does."""
    configuration = plane.folder / "operator.yaml"
    if not configuration.exists():
        plane.install(sorted((REPOSITORY / "crds").glob("*.yaml")))
        configuration.write_text(_chart_configuration(plane))
    kubeconfig = plane.user("operator")
    command = (sys.executable, "-m", "distill_operator", "--config", str(configuration), "--port", "8080")
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    program = Program("operator", command)
    process = plane.start(program, KUBECONFIG=str(kubeconfig), PYTHONPATH=paths)
    with _ending(Controller("operator", "http://127.0.0.1:8080", process, plane.log("operator"))) as controller:
        yield controller


@contextmanager
def jobset(plane: ControlPlane) -> Iterator[Controller]:
    """Run JobSet as it comes, but for its webhooks: `job_set` has written what they would."""
    plane.install([_jobset_source() / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"])
    certificate = plane.authority.issue("webhook", "/CN=webhook", "DNS:localhost")
    served = plane.folder / "jobset"
    served.mkdir()
    (served / "tls.crt").symlink_to(certificate.certificate)
    (served / "tls.key").symlink_to(certificate.key)
    configuration = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": 9443, "certDir": str(served)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
    }
    (served / "config.yaml").write_text(json.dumps(configuration))
    program = Program("jobset", ("jobset", f"--config={served}/config.yaml", "--zap-log-level=info"))
    process = plane.start(program, KUBECONFIG=str(plane.user("jobset")))
    with _ending(Controller("jobset", "http://127.0.0.1:8081", process, plane.log("jobset"))) as controller:
        yield controller


def job_set(name: str, pod: Manifest) -> Manifest:
    """Give a JobSet of one Job with one Pod, with what JobSet's webhook would add to it."""
    job = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 0}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "successPolicy": {"operator": "All"},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "replicatedJobs": [
                {"name": "main", "replicas": 1, "template": {"spec": {**job, "template": {"spec": pod}}}}
            ],
        },
    }


@contextmanager
def _ending(controller: Controller) -> Iterator[Controller]:
    try:
        yield controller
    except BaseException:
        sys.stderr.write(f"the end of the log of {controller.user}:\n{tail(controller.log)}\n")
        raise
    finally:
        controller.process.kill()
        controller.process.wait()


def _chart_configuration(plane: ControlPlane) -> str:
    words = ["helm", "template", "npu-distill", str(CHART), "--show-only", "templates/configmap.yaml"]
    manifest = yaml.safe_load(run(words, environment=plane.environment))
    text: str = manifest["data"]["operator.yaml"]
    return text


def jobset_version() -> str:
    """Give the version that is measured, which programs/jobset/go.mod names."""
    return _of_jobset("{{.Version}}").removeprefix("v")


def _jobset_source() -> Path:
    """Give the folder of JobSet's sources, which were needed to build it."""
    return Path(_of_jobset("{{.Dir}}"))


def _of_jobset(template: str) -> str:
    command = [go_program(), "list", "-m", "-f", template, _JOBSET_MODULE]
    return run(command, directory=SOURCES / "jobset").strip()
