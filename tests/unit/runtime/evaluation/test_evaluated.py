"""How what was evaluated is called."""

from typing import Any

import pytest

from distill_runtime.contract import ArtifactReference
from distill_runtime.contract.stages import EndpointTarget, WeightsTarget
from distill_runtime.evaluation.evaluated import model_of

TRAINED = ArtifactReference(uri="npu-distill/team-a/math-7b/train-0123456789ab", digest=f"sha256:{'0' * 64}")
SERVED: dict[str, Any] = {"device_target": "CPU", "url": "http://127.0.0.1:8000/v1"}


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (EndpointTarget(url="http://h/v1", model="math-7b"), "math-7b"),
        (EndpointTarget(url="http://h/v1", model="math-7b", weights=TRAINED), "math-7b"),
        (WeightsTarget(weights=TRAINED, **SERVED), TRAINED.uri),
        (WeightsTarget(uri="models/qwen", **SERVED), "models/qwen"),
    ],
)
def test_an_endpoint_has_a_name_and_weights_a_place(target: EndpointTarget | WeightsTarget, name: str) -> None:
    assert model_of(target.to_json()) == name
