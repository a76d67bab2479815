"""`by_hand.py` runs the stages with the contracts that the operator would plan from the same manifests."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import by_hand
from distill_operator.api import KINDS, StageStatus
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Stage
from distill_operator.settings import Settings
from distill_runtime.contract import ArtifactReference, Contract, GenerateContract

CHART_VALUES = Path(__file__).parents[3] / "helm" / "npu-distill" / "values.yaml"
ENDPOINT = "http://127.0.0.1:8000/v1"
ARTIFACT = ArtifactReference(uri="somewhere", digest=f"sha256:{'a' * 64}")
METADATA = {"name": "arithmetic", "namespace": "distill-demo", "uid": "1", "generation": 1}


@pytest.fixture(scope="module")
def settings() -> Settings:
    values = yaml.safe_load(CHART_VALUES.read_text())
    return Settings.model_validate(
        {
            "images": {"runtime": "runtime"},
            "stagePodSecurityContext": values["stagePodSecurityContext"],
            "stages": values["stages"],
            "profiles": values["profiles"],
        }
    )


def ready(kind: str, spec: by_hand.Spec) -> dict[str, Any]:
    """An object that another one waits for, Ready."""
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Done",
        "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "observedGeneration": 1,
    }
    status = {"observedGeneration": 1, "conditions": [condition], "artifact": ARTIFACT.to_json()}
    return {"kind": kind, "metadata": METADATA, "spec": dict(spec), "status": status}


def planned(kind: str, manifest: str, stage: str, dependency: dict[str, Any] | None, settings: Settings) -> Contract:
    resource = KINDS[kind].model_validate({"metadata": METADATA, "spec": by_hand.read_spec(manifest)})
    before = StageStatus.model_validate({"name": "filter", "state": "Succeeded", "artifact": ARTIFACT.to_json()})
    plan = KIND_PLANS[kind]
    known = dict.fromkeys(plan.dependencies(resource), dependency) if dependency is not None else {}
    stage_plan = plan.plan_stage(resource, stage, {"filter": before}, known, settings)
    assert isinstance(stage_plan, Stage)
    return stage_plan.contract


def comparable(contract: Contract) -> dict[str, Any]:
    """What decides what a stage does: not for whom it is done, where things are, or how long its Pod has to end."""
    if isinstance(contract, GenerateContract):
        contract = contract.model_copy(update={"teacher": contract.teacher.model_copy(update={"endpoints": ()})})
    values = contract.model_dump(exclude={"owner", "run", "output", "shards", "grace_seconds"})
    if isinstance(values.get("input"), str):
        del values["input"]
    return values


def test_generate(settings: Settings) -> None:
    contract = by_hand.generate_contract(by_hand.read_spec("dataset.yaml"), ENDPOINT)
    assert isinstance(contract, GenerateContract)
    assert contract.teacher.endpoints == (ENDPOINT,)
    operator_s = planned("DistillDataset", "dataset.yaml", "generate", None, settings)
    assert comparable(contract) == comparable(operator_s)


def test_filter(settings: Settings) -> None:
    contract = by_hand.filter_contract(by_hand.read_spec("dataset.yaml"))
    assert comparable(contract) == comparable(planned("DistillDataset", "dataset.yaml", "filter", None, settings))


def test_pack(settings: Settings) -> None:
    contract = by_hand.pack_contract(by_hand.read_spec("dataset.yaml"), ARTIFACT)
    assert comparable(contract) == comparable(planned("DistillDataset", "dataset.yaml", "pack", None, settings))


def test_train(settings: Settings) -> None:
    contract = by_hand.train_contract(by_hand.read_spec("finetune.yaml"), ARTIFACT)
    dataset = ready("DistillDataset", by_hand.read_spec("dataset.yaml"))
    assert comparable(contract) == comparable(planned("FinetuneRun", "finetune.yaml", "train", dataset, settings))


def test_eval(settings: Settings) -> None:
    contract = by_hand.eval_contract(by_hand.read_spec("eval.yaml"), ARTIFACT)
    finetune = ready("FinetuneRun", by_hand.read_spec("finetune.yaml"))
    assert comparable(contract) == comparable(planned("EvalRun", "eval.yaml", "eval", finetune, settings))
