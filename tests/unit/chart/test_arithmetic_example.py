"""The example's files agree with the API, with the teacher, and with each other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill_operator.api import KINDS
from distill_runtime.contract import Model
from server import MODEL

EXAMPLE = Path(__file__).parents[3] / "examples" / "arithmetic"


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


@pytest.fixture
def setup() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents(EXAMPLE / "setup")}


@pytest.fixture
def resources() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents(EXAMPLE)}


def pod_templates(setup: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [setup[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]


def test_the_folder_holds_one_resource_of_each_kind() -> None:
    assert sorted(document["kind"] for document in documents(EXAMPLE)) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_specs_are_valid(kind: str, resources: dict[str, dict[str, Any]]) -> None:
    spec_model = KINDS[kind].model_fields["spec"].annotation
    assert isinstance(spec_model, type)
    assert issubclass(spec_model, Model)
    spec_model.model_validate(resources[kind]["spec"])


def test_everything_is_in_the_namespace_that_setup_makes(
    setup: dict[str, dict[str, Any]], resources: dict[str, dict[str, Any]]
) -> None:
    namespace = setup.pop("Namespace")["metadata"]["name"]
    found = {document["metadata"]["namespace"] for document in [*setup.values(), *resources.values()]}
    assert found == {namespace}


def test_the_namespace_comes_first() -> None:
    assert next(documents(EXAMPLE / "setup"))["kind"] == "Namespace"


def test_resources_refer_to_each_other(resources: dict[str, dict[str, Any]]) -> None:
    finetune, evaluation = resources["FinetuneRun"], resources["EvalRun"]
    assert finetune["spec"]["datasetRef"]["name"] == resources["DistillDataset"]["metadata"]["name"]
    assert evaluation["spec"]["target"]["finetuneRef"]["name"] == finetune["metadata"]["name"]


def test_resources_use_the_claim_that_setup_makes(
    setup: dict[str, dict[str, Any]], resources: dict[str, dict[str, Any]]
) -> None:
    claims = {resource["spec"]["storage"]["claimName"] for resource in resources.values()}
    assert claims == {setup["PersistentVolumeClaim"]["metadata"]["name"]}


def test_the_dataset_asks_the_teacher_that_setup_starts(
    setup: dict[str, dict[str, Any]], resources: dict[str, dict[str, Any]]
) -> None:
    teacher = resources["DistillDataset"]["spec"]["teacher"]
    assert teacher["model"] == MODEL
    assert teacher["endpoints"] == [f"http://{setup['Service']['metadata']['name']}/v1"]


def test_pods_meet_pod_security_restricted(setup: dict[str, dict[str, Any]]) -> None:
    for pod in pod_templates(setup):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
