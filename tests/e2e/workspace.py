"""One test's namespace: restricted Pod Security, a claim, a teacher, inputs, and the manifests that tests vary."""

import base64
import copy
import io
import json
import re
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.arithmetic import EXAMPLE
from tests.harness.installation import Installation
from tests.harness.kubectl import PATIENCE_SECONDS, CommandError, Kubectl, condition, eventually

API_VERSION = "npu-distill.io/v1alpha1"
CLAIM = "distill"
STAGES = ("generate", "filter", "pack", "train", "eval")
LONG_TRAINING = {"epochs": 1000, "maxSteps": None, "batchSize": 1}
"""Training that is surely under way still when something is done to it; it ends with the test's namespace."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Workspace:
    """A namespace of its own for one test."""

    installation: Installation
    namespace: str

    @property
    def kubectl(self) -> Kubectl:
        """kubectl of the cluster."""
        return self.installation.kubectl

    # ---- manifests ----

    def manifest(self, kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
        """Give a custom resource of this namespace."""
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": dict(spec)}

    def dataset(self, name: str = "sums", **changes: Any) -> Manifest:
        """Give the example's DistillDataset over 200 prompts; `changes` are laid over its spec, key by key."""
        base = {"source": {"prompts": {"limit": 200}}, "teacher": {"shards": 1}, "filter": {"minAcceptanceRate": 0}}
        return self._example("dataset.yaml", name, base, changes)

    def finetune(self, name: str = "sums", dataset: str = "sums", **changes: Any) -> Manifest:
        """Give the example's FinetuneRun cut down to 12 steps of one worker."""
        base = {
            "datasetRef": {"name": dataset},
            "training": {"maxSteps": 12, "batchSize": 2},
            "checkpoint": {"everySteps": 4},
        }
        return self._example("finetune.yaml", name, base, changes)

    def evaluation(self, name: str = "sums", finetune: str = "sums", **changes: Any) -> Manifest:
        """Give the example's EvalRun over 10 problems."""
        base = {
            "target": {"finetuneRef": {"name": finetune}},
            "benchmark": {"limit": 10},
            "protocol": {"maxTokens": 24},
        }
        return self._example("eval.yaml", name, base, changes)

    def _example(self, file: str, name: str, *changes: Mapping[str, Any]) -> Manifest:
        manifest: Manifest = yaml.safe_load((EXAMPLE / file).read_text())
        spec = manifest["spec"]
        for change in changes:
            spec = merged(spec, change)
        return self.manifest(manifest["kind"], name, spec)

    # ---- what a test does ----

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply manifests in one call."""
        self.kubectl.apply(*manifests)

    def refused(self, manifest: Mapping[str, Any]) -> str:
        """Apply a manifest that the API server must refuse, and give its words."""
        try:
            self.kubectl.apply(manifest)
        except CommandError as error:
            return str(error)
        raise AssertionError(f"the API server took {json.dumps(manifest['spec'])}")

    def get(self, kind: str, name: str = "sums") -> Manifest:
        """Give one object."""
        return self.kubectl.get(kind, name, self.namespace)

    def status(self, kind: str, name: str = "sums") -> Manifest:
        """Give an object's status."""
        return dict(self.get(kind, name).get("status", {}))

    def stage(self, kind: str, stage: str, name: str = "sums") -> Manifest:
        """Give the status of one stage; empty while there is none."""
        return next((item for item in self.status(kind, name).get("stages", []) if item["name"] == stage), {})

    def wait_for(
        self, kind: str, name: str = "sums", type_: str = "Ready", seconds: float = PATIENCE_SECONDS
    ) -> Manifest:
        """Wait with `kubectl wait`, as a user would, and give the object; says how it stood if that failed."""
        try:
            timeout = f"--timeout={seconds:g}s"
            self.kubectl(
                "wait", kind, name, "-n", self.namespace, f"--for=condition={type_}", timeout, timeout=seconds + 30
            )
        except CommandError as error:
            conditions = json.dumps(self.status(kind, name).get("conditions", []), indent=1)
            pods = self.kubectl("get", "pods", "-n", self.namespace)
            raise AssertionError(f"{error}\n{conditions}\n{pods}") from error
        return self.get(kind, name)

    def reason(self, kind: str, name: str = "sums") -> str:
        """Give the Ready condition's reason."""
        return str(condition(self.get(kind, name), "Ready").get("reason", ""))

    def pods(self, stage: str) -> list[Manifest]:
        """Give the Pods of a stage."""
        return self.kubectl.list("pods", self.namespace, f"npu-distill.io/stage={stage}")

    def live_pods(self, stage: str) -> list[Manifest]:
        """Give the Pods of a stage that have not ended."""
        return [pod for pod in self.pods(stage) if pod["status"].get("phase") not in ("Succeeded", "Failed")]

    def jobs(self, stage: str = "") -> list[Manifest]:
        """Give the Jobs of a stage, or of all."""
        selector = f"npu-distill.io/stage={stage}" if stage else "app.kubernetes.io/managed-by=npu-distill"
        return self.kubectl.list("jobs", self.namespace, selector)

    def running_pod(self, stage: str) -> Manifest:
        """Wait until a Pod of the stage runs, and give it."""

        def running() -> Manifest | None:
            return next((pod for pod in self.pods(stage) if pod["status"].get("phase") == "Running"), None)

        return eventually(running, f"a running Pod of stage {stage}")

    def suspend(self, kind: str, value: bool) -> None:
        """Set an object's spec.suspend."""
        patch = json.dumps({"spec": {"suspend": value}})
        self.kubectl("patch", kind, "sums", "-n", self.namespace, "--type", "merge", "-p", patch)

    def wait_for_step(self, step: int) -> None:
        """Wait until the run says that its training has come so far, and make sure that it has far to go."""
        eventually(lambda: (self.status("finetunerun").get("step") or 0) >= step, f"{step} steps")
        status = self.status("finetunerun")
        assert status["step"] < status["totalSteps"] / 2

    def wait_for_resumption(self, job: str) -> None:
        """Wait until a Pod of the Job says that it goes on from a checkpoint, and the run gets further than it was."""
        before = self.status("finetunerun")["step"]

        def resumed() -> bool:
            pods = self.kubectl.list("pods", self.namespace, f"batch.kubernetes.io/job-name={job}")
            started = [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]
            return any("resuming from step " in self.log(pod) for pod in started)

        eventually(resumed, f"{job} resumes from a checkpoint")
        self.wait_for_step(before + 1)

    def event_reasons(self, type_: str = "") -> set[str]:
        """Give the reasons of the namespace's Events, those of one type if it is given."""
        events = self.kubectl.list("events", self.namespace)
        return {event["reason"] for event in events if type_ in ("", event["type"])}

    @contextmanager
    def watching(self, kind: str, fields: str, file: Path) -> Iterator[None]:
        """Write `fields` (JSONPath) of each version that objects of the kind come to have into a file, a line each."""
        words = ["get", kind, "-n", self.namespace, "--watch", "-o", f'jsonpath={fields}{{"\\n"}}']
        with file.open("w") as lines, self.kubectl.running(*words, stdout=lines):
            yield

    def limit_cpu(self, cores: float) -> None:
        """Let containers of Pods that are made from now on have so much of a processor, unless they say otherwise."""
        limit = {"type": "Container", "default": {"cpu": f"{cores}"}, "defaultRequest": {"cpu": "10m"}}
        metadata = {"name": "cpu", "namespace": self.namespace}
        self.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [limit]}})

    def unlimit_cpu(self) -> None:
        """Take the limit away again, for Pods that are made from now on."""
        self.kubectl("delete", "limitrange", "cpu", "-n", self.namespace)

    def log(self, pod: str) -> str:
        """Give what a Pod has printed."""
        return self.kubectl("logs", pod, "-n", self.namespace)

    # ---- the teacher, the student and the volume ----

    def teacher(self, **flags: float) -> None:
        """Start the rule-based teacher with `flags` (see its --help); without flags it is always right."""
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        deployment, service = yaml.safe_load_all((EXAMPLE / "setup/20-teacher.yaml").read_text())
        for manifest in (deployment, service):
            manifest["metadata"]["namespace"] = self.namespace
        quiet = ["--wrong=0", "--truncated=0", "--too-many-requests=0", "--unavailable=0"]
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] = [*quiet, *arguments]
        self.apply(deployment, service)
        name = deployment["metadata"]["name"]
        self.kubectl("rollout", "status", f"deployment/{name}", "-n", self.namespace, "--timeout=120s", timeout=150)

    def teacher_stats(self) -> dict[str, dict[str, int]]:
        """Give what the teacher counted of its own doing: answers by outcome, refusals by HTTP status."""
        name = yaml.safe_load((EXAMPLE / "setup/20-teacher.yaml").read_text().split("\n---\n")[0])["metadata"]["name"]
        path = f"/api/v1/namespaces/{self.namespace}/services/{name}:http/proxy/stats"
        stats: dict[str, dict[str, int]] = json.loads(self.kubectl("get", "--raw", path))
        return stats

    def shrink_student(self) -> None:
        """Leave the student one layer of two, for tests that do not ask what it has learned: it compiles in half the
        time."""
        config = f"/data/{self.finetune()['spec']['model']['uri']}/config.json"
        self.on_volume("sed", "-i", r's/\("num_hidden_layers":\) [0-9]*/\1 1/', config)

    def on_volume(self, *command: str, timeout: float = 60) -> str:
        """Run a command in the Pod that has the claim at /data."""
        return self.kubectl("exec", "toolbox", "-n", self.namespace, "--", *command, timeout=timeout)

    def read(self, path: str) -> str:
        """Read a file of the claim."""
        return self.on_volume("cat", f"/data/{path}")

    def upload(self, directory: Path) -> None:
        """Copy what is in a directory of this machine to the claim, beside what is there."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for child in directory.iterdir():  # not itself: the claim's own mode is somebody else's
                archive.add(child, child.name)
        into = ("exec", "-i", "toolbox", "-n", self.namespace, "--", "sh", "-c", "base64 -d | tar -xz -m -C /data")
        self.kubectl(*into, stdin=base64.b64encode(packed.getvalue()).decode())

    def rows(self, path: str) -> list[Manifest]:
        """Read a JSON Lines file of the claim."""
        return [json.loads(line) for line in self.read(path).splitlines()]


@contextmanager
def open_workspace(installation: Installation, name: str) -> Iterator[Workspace]:
    """Make a namespace with a claim and the example's inputs in it; delete it at the end."""
    kubectl = installation.kubectl
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower())[:50].strip("-")
    namespace = f"{readable}-{secrets.token_hex(3)}"  # names cut short are alike, and one that ends cannot be used yet
    workspace = Workspace(installation, namespace)
    (enforced,) = yaml.safe_load_all((EXAMPLE / "setup/00-namespace.yaml").read_text())
    (claim,) = yaml.safe_load_all((EXAMPLE / "setup/10-claim.yaml").read_text())
    enforced["metadata"]["name"] = namespace
    claim["metadata"]["namespace"] = namespace
    kubectl.apply(enforced)
    try:
        kubectl("wait", "serviceaccount/default", "-n", namespace, "--for=create", "--timeout=90s")
        kubectl.apply(claim, _toolbox(namespace))
        kubectl("wait", "pod/toolbox", "-n", namespace, "--for=condition=Ready", "--timeout=90s")
        yield workspace
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def _toolbox(namespace: str) -> Manifest:
    """Give a Pod of the teacher's image that writes the inputs, then waits for commands."""
    (job,) = yaml.safe_load_all((EXAMPLE / "setup/30-inputs.yaml").read_text())
    spec = copy.deepcopy(job["spec"]["template"]["spec"])
    container = spec["containers"][0]
    write = " ".join(container["command"])
    container["command"] = ["sh", "-c", f"{write} && touch /tmp/ready && exec sleep 3600"]
    container["readinessProbe"] = {"exec": {"command": ["ls", "/tmp/ready"]}, "periodSeconds": 1}
    container["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})
    spec["volumes"].append({"name": "tmp", "emptyDir": {}})
    spec["terminationGracePeriodSeconds"] = 0
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "toolbox", "namespace": namespace}, "spec": spec}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Manifest:
    """Lay `change` over `base`, maps key by key; a None removes a key."""
    laid = dict(base)
    for key, value in change.items():
        if value is None:
            laid.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(laid.get(key), Mapping):
            laid[key] = merged(laid[key], value)
        else:
            laid[key] = value
    return laid
