"""Values that the operator's tests are made from: objects as they come from the API server, Jobs, Pods, settings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from distill_operator.api import KINDS, AnyResource, StageState, StageStatus
from distill_operator.observation import JobView, Observation, PodView, ResourceKey
from distill_operator.plan.decision import parse
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import job_name
from distill_operator.settings import Settings
from distill_runtime.contract import EXIT_WRONG_INPUT, ArtifactReference, Progress, Result

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
DIGEST = f"sha256:{'d' * 64}"
NAMESPACE = "team-a"

DATASET_SPEC: dict[str, Any] = {
    "source": {"prompts": {"uri": "math/prompts.jsonl"}},
    "teacher": {"endpoints": ["http://teacher/v1"], "model": "deepseek-r1"},
    "pack": {"tokenizer": {"uri": "models/qwen"}, "sequenceLength": 4096},
    "storage": {"claimName": "distill"},
}
FINETUNE_SPEC: dict[str, Any] = {
    "datasetRef": {"name": "math"},
    "model": {"uri": "models/qwen"},
    "accelerator": {"profile": "cpu"},
    "storage": {"claimName": "distill"},
}
EVALUATION_SPEC: dict[str, Any] = {
    "target": {"finetuneRef": {"name": "student"}},
    "benchmark": {"name": "math-500", "uri": "math/test.jsonl"},
    "accelerator": {"profile": "cpu"},
    "storage": {"claimName": "distill"},
}
_SPECS = {"DistillDataset": DATASET_SPEC, "FinetuneRun": FINETUNE_SPEC, "EvalRun": EVALUATION_SPEC}
_NAMES = {"DistillDataset": "math", "FinetuneRun": "student", "EvalRun": "score"}

CHART_VALUES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "helm" / "npu-distill" / "values.yaml").read_text()
)
SETTINGS = Settings.model_validate(
    {
        "images": {"runtime": "registry.example/runtime:1", "pullPolicy": "IfNotPresent"},
        "stagePodSecurityContext": CHART_VALUES["stagePodSecurityContext"],
        "stages": {"generate": {"resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}}}},
        "servers": {
            "mindformers": CHART_VALUES["servers"]["mindformers"],
            "other": {"image": "registry.example/other:1", "command": ["serve", "{model}", "--length={maxLength}"]},
        },
        "profiles": {
            "cpu": {"deviceTarget": "CPU", "resources": {"requests": {"cpu": 2, "memory": "3Gi"}}},
            "ascend-910b": {"deviceTarget": "Ascend", "resource": "huawei.com/Ascend910", "devicesPerNode": 8},
        },
    }
)


def body(kind: str, spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An object of `kind`; `spec` replaces blocks of the smallest spec, a block that is None is left out."""
    blocks = {**_SPECS[kind], **(spec or {})}
    return {
        "metadata": {
            "name": _NAMES[kind],
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            **more.pop("metadata", {}),
        },
        "spec": {name: value for name, value in blocks.items() if value is not None},
        "status": {"observedGeneration": -1, "conditions": [], "stages": []},  # the API server's, before any other
        **more,
    }


def resource(kind: str, spec: dict[str, Any] | None = None, **more: Any) -> AnyResource:
    """The same, parsed."""
    return parse(KIND_PLANS[kind], body(kind, spec, **more))


def as_found(manifest: dict[str, Any]) -> AnyResource:
    """A manifest's object as the operator finds it."""
    metadata = {**manifest["metadata"], "namespace": NAMESPACE, "uid": UID, "generation": 1}
    return KINDS[manifest["kind"]].from_api({**manifest, "metadata": metadata})


def ready(kind: str, **more: Any) -> dict[str, Any]:
    """An object of `kind` that is Ready, with an artifact."""
    condition = {"status": "True", "reason": "Packed", "message": "", "lastTransitionTime": NOW.isoformat()}
    status = {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "observedGeneration": 1, **condition}],
        "artifact": {"uri": f"npu-distill/{kind}", "digest": DIGEST},
    }
    return body(kind, status=status, **more)


def known(kind: str, found: dict[str, Any] | None = None) -> dict[ResourceKey, dict[str, Any]]:
    """What an object of `kind` waits for, unless `found` says otherwise Ready."""
    waits_for = {"FinetuneRun": "DistillDataset", "EvalRun": "FinetuneRun"}.get(kind)
    return {key(waits_for): found or ready(waits_for)} if waits_for is not None else {}


def key(kind: str) -> ResourceKey:
    return ResourceKey(kind, NAMESPACE, _NAMES[kind])


def job(kind: str = "DistillDataset", stage: str = "generate", attempt: int = 1, **fields: Any) -> JobView:
    name = job_name(_NAMES[kind], stage, attempt)
    defaults: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "owner_uid": UID}
    defaults |= {"created_at": NOW, "started_at": NOW}
    return JobView(stage=stage, attempt=attempt, **{**defaults, **fields})


def complete(view: JobView) -> dict[str, Any]:
    """Fields of a Job that has just completed, as `dataclasses.replace` takes them."""
    return {"complete": True, "finished_at": view.finished_at or NOW}


def pod(of: JobView, index: int = 0, **fields: Any) -> PodView:
    defaults: dict[str, Any] = {"name": f"{of.name}-{index}-x", "owner_uid": of.owner_uid}
    return PodView(job_uid=of.uid, index=index, **{**defaults, **fields})


def running_pod(of: JobView, index: int = 0, **fields: Any) -> PodView:
    return pod(of, index, phase="Running", ip="10.0.0.1", **fields)


def dead_pod(of: JobView, index: int = 0, **fields: Any) -> PodView:
    """A Pod that was evicted, to end by NOW, from a node that does not answer any more."""
    return running_pod(of, index, **{"node": "node-7", "deletion_timestamp": NOW, **fields})


def result(counts: dict[str, int] | None = None, **fields: Any) -> Result:
    artifact = ArtifactReference(uri="npu-distill/out", digest=DIGEST)
    return Result(
        outcome="Succeeded", reason="Done", message="it is done", artifact=artifact, counts=counts or {}, **fields
    )


def succeeded_pod(of: JobView, index: int = 0, said: Result | None = None, **fields: Any) -> PodView:
    words = (said or result()).to_termination_message()
    return pod(of, index, phase="Succeeded", exit_code=0, termination_message=words, finished_at=NOW, **fields)


def failed_pod(of: JobView, index: int = 0, exit_code: int = 1, said: Result | None = None, **fields: Any) -> PodView:
    words = said.to_termination_message() if said is not None else ""
    defaults: dict[str, Any] = {"termination_message": words, "finished_at": NOW}
    return pod(of, index, phase="Failed", exit_code=exit_code, **{**defaults, **fields})


def wrong_input_pod(of: JobView, index: int = 0) -> PodView:
    said = Result(outcome="WrongInput", reason="ColumnMissing", message="there is no column answer")
    return failed_pod(of, index, EXIT_WRONG_INPUT, said)


def progress(done: int, total: int | None = None, **fields: Any) -> Progress:
    return Progress(stage="generate", done=done, total=total, unit="generations", **fields)


def stage_status(name: str, state: StageState, **fields: Any) -> StageStatus:
    return StageStatus(name=name, state=state, **fields)


def succeeded_stage(name: str, **fields: Any) -> StageStatus:
    artifact = {"uri": f"npu-distill/{name}", "digest": DIGEST}
    return StageStatus.model_validate(
        {"name": name, "state": "Succeeded", "finishedAt": NOW, "artifact": artifact, **fields}
    )


def observation(kind: str = "DistillDataset", **fields: Any) -> Observation:
    return Observation(**{"resource": body(kind), **fields})


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


assert set(_SPECS) == set(KINDS)
