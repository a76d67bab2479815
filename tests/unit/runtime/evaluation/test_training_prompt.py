"""The system prompt of the training data, found by the weights' manifest, and no trouble where it is not there."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from distill_runtime.contract import ArtifactReference, Manifest
from distill_runtime.evaluation.training_prompt import training_prompt
from distill_runtime.storage.volume import Volume


def artifact(volume: Path, name: str, stage: str, parameters: dict[str, Any], *inputs: ArtifactReference) -> str:
    content = Manifest(stage=stage, files=(), parameters=parameters, inputs=inputs).model_dump_json(by_alias=True)
    (volume / name).mkdir()
    (volume / name / "manifest.json").write_text(content)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"pack": {"systemPrompt": "Think."}}, "Think."),
        ({"pack": {"systemPrompt": ""}}, ""),
        ({"pack": {"systemPrompt": 7}}, None),
        ({"pack": "elsewhere"}, None),
        ({}, None),
    ],
)
def test_it_is_that_of_pack(tmp_path: Path, parameters: dict[str, Any], expected: str | None) -> None:
    digest = artifact(tmp_path, "pack", "pack", parameters)
    data = ArtifactReference(uri="pack", digest=digest)
    weights = ArtifactReference(uri="weights", digest=artifact(tmp_path, "weights", "msrun", {}, data))
    assert training_prompt(weights, Volume(tmp_path)) == expected


def test_data_that_is_gone_or_another_tells_nothing(tmp_path: Path) -> None:
    artifact(tmp_path, "other", "pack", {"pack": {"systemPrompt": "Think."}})
    (tmp_path / "broken").mkdir()
    data = [ArtifactReference(uri=uri, digest=f"sha256:{'0' * 64}") for uri in ("gone", "other", "broken")]
    weights = ArtifactReference(uri="weights", digest=artifact(tmp_path, "weights", "msrun", {}, *data))
    assert training_prompt(weights, Volume(tmp_path)) is None
