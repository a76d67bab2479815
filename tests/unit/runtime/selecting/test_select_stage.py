"""The select stage: of what the filter kept, every row is kept, or rejected with a reason."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.filter_artifact import Verified, write_filter_artifact

from distill_runtime.contract import ArtifactReference, SelectContract
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import select
from distill_runtime.storage.artifact import open_artifact
from distill_runtime.storage.volume import Volume

GENERATIONS = [
    Verified("hard", 0, source="olympiads", teacher="r1"),
    *(Verified("hard", index, "incorrect") for index in range(1, 8)),
    *(Verified("middling", index, text="x" * (index + 1), source="amc", teacher="r1") for index in range(3)),
    Verified("middling", 3, "incorrect"),
    *(Verified("easy", index, text=f"{index}", source="amc", teacher="qwq") for index in range(4)),
    Verified("short", 0, text="", source="amc"),
    Verified("short", 1, "noAnswer"),
]


@pytest.fixture
def filtered(tmp_path: Path) -> ArtifactReference:
    return write_filter_artifact(tmp_path, GENERATIONS)


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(Volume(tmp_path), Reporter("select", "rows"))


def contract(filtered: ArtifactReference, **parameters: Any) -> SelectContract:
    return SelectContract.model_validate({"output": "select", "input": filtered, "select": parameters})


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


BANDS: dict[str, Any] = {
    "minPassRate": 0.2,
    "maxPassRate": 0.9,
    "length": {"unit": "characters", "min": 1},
    "keep": "longest",
    "maxPerPrompt": 2,
}


def test_every_row_is_kept_or_rejected_with_a_reason(
    filtered: ArtifactReference, context: StageContext, tmp_path: Path
) -> None:
    result = run_stage(select, contract(filtered, **BANDS), context)
    assert result.counts == {
        "rows": 9,
        "kept": 2,
        "prompts": 1,
        "rejected.notKept": 1,
        "rejected.passRateTooHigh": 4,
        "rejected.passRateTooLow": 1,
        "rejected.tooShort": 1,
    }
    kept, rejects = (read(tmp_path / "select" / name) for name in ("kept.jsonl", "rejects.jsonl"))
    assert [(row["uuid"], row["generation"]) for row in kept] == [("middling", 1), ("middling", 2)]
    assert {(row["uuid"], row["generation"]): row["reason"] for row in rejects} == {
        ("hard", 0): "passRateTooLow",
        ("middling", 0): "notKept",
        **{("easy", index): "passRateTooHigh" for index in range(4)},
        ("short", 0): "tooShort",
    }
    assert kept == [row for row in read(tmp_path / "filter" / "kept.jsonl") if row in kept]  # as the filter wrote them
    assert result.artifact is not None
    _, manifest = open_artifact(context.volume, result.artifact)
    assert (manifest.counts, manifest.inputs) == (result.counts, (filtered,))
    released = pq.read_table(tmp_path / "select" / "dataset" / "data" / "train-00000.parquet")
    assert released.to_pylist() == kept
    card = (tmp_path / "select" / "dataset" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    assert "| kept | 2 |" in card
    assert '"maxPassRate": 0.9' in card


def test_the_report_says_the_same_as_the_counts(
    filtered: ArtifactReference, context: StageContext, tmp_path: Path
) -> None:
    select.run(contract(filtered, **BANDS), context)
    report = json.loads((tmp_path / "select" / "report.json").read_text())
    assert {name: figure["value"] for name, figure in report["figures"].items()} == {"rows": 9, "kept": 2, "prompts": 1}
    reasons, *others = report["charts"]
    assert sum(bar["parts"][0] for bar in reasons["bars"]) == 7
    assert len(others) == 4
    for chart in others:
        assert [sum(parts) for parts in zip(*(bar["parts"] for bar in chart["bars"]), strict=True)] == [2, 7]
    by_rate = {bar["label"]: bar["parts"] for bar in others[0]["bars"] if any(bar["parts"])}
    assert by_rate == {"10 – 20 %": [0, 1], "50 – 60 %": [0, 1], "70 – 80 %": [2, 1], "100 %": [0, 4]}


def test_a_probe_s_pass_rate_counts_instead(filtered: ArtifactReference, context: StageContext, tmp_path: Path) -> None:
    """It solves what the teacher finds hard; what it never answered has no rate, nor has what nobody asked it."""
    probed = [
        *(Verified("hard", index) for index in range(3)),
        Verified("hard", 3, "duplicate"),
        Verified("middling", 0),
        *(Verified("middling", index, "truncated") for index in range(1, 4)),
        Verified("easy", 0, "failed"),
        Verified("another", 0),
    ]
    probe = write_filter_artifact(tmp_path, probed, "probe")
    asked = contract(filtered, maxPassRate=0.5).model_copy(update={"probe": probe})
    result = run_stage(select, asked, context)
    assert result.counts == {
        "rows": 9,
        "kept": 3,
        "prompts": 1,
        "rejected.passRateTooHigh": 1,
        "rejected.passRateUnknown": 5,
    }
    assert [row["uuid"] for row in read(tmp_path / "select" / "kept.jsonl")] == ["middling"] * 3
    report = json.loads((tmp_path / "select" / "report.json").read_text())
    by_rate = {bar["label"]: bar["parts"] for bar in report["charts"][1]["bars"] if any(bar["parts"])}
    assert by_rate == {"20 – 30 %": [3, 0], "100 %": [0, 1], "unknown": [0, 5]}
    assert [each.name for each in result.inputs] == ["kept", "probe"]
    assert result.artifact is not None
    assert open_artifact(context.volume, result.artifact)[1].inputs == (filtered, probe)


def test_where_a_probe_has_no_verdict_at_all_nothing_is_selected(
    filtered: ArtifactReference, context: StageContext, tmp_path: Path
) -> None:
    probe = write_filter_artifact(tmp_path, [Verified("hard", 0, "failed")], "probe")
    with pytest.raises(WrongInput, match="none of the 9 right answers is selected: 9 passRateUnknown"):
        select.run(contract(filtered, maxPassRate=0.5).model_copy(update={"probe": probe}), context)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"minPassRate": 0.8, "maxPassRate": 0.9}, "none of the 9 right answers is selected: 5 passRateTooLow, 4 pass"),
        ({"length": {"max": 100}}, "9 lengthUnknown.*give select.length the unit characters"),
    ],
)
def test_nothing_selected_is_wrong_input(
    filtered: ArtifactReference, context: StageContext, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongInput, match=words) as refusal:
        select.run(contract(filtered, **parameters), context)
    assert refusal.value.reason == "NothingSelected"


def test_ended_while_it_writes_it_comes_to_the_same(
    filtered: ArtifactReference, context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr(select, "write_release", end)
        with pytest.raises(Terminated):
            run_stage(select, contract(filtered, **BANDS), context)
    interrupted = run_stage(select, contract(filtered, **BANDS), context)
    assert not (tmp_path / "select.work").exists()
    (tmp_path / "select").rename(tmp_path / "interrupted")
    assert run_stage(select, contract(filtered, **BANDS), context) == interrupted
