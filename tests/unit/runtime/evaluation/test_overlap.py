"""Problems that the training data has too: found where it is known, said where it is not, and no part of a score."""

import hashlib
import json
from pathlib import Path

import pytest
from support.filter_artifact import Verified, write_filter_artifact
from support.scripted_teacher import MODEL, Reaction, teacher

from distill_runtime.contract import ArtifactReference, Benchmark, EvalContract, Manifest, Protocol, Result
from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.overlap import OVERLAP_NAME, SIZES, find_shared
from distill_runtime.evaluation.summary import SUMMARY_NAME, Overlap, Summary
from distill_runtime.evaluation.training_data import training_rows
from distill_runtime.foundation.rows import KEPT_NAME
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import eval as eval_stage
from distill_runtime.storage.volume import Volume

WORDS = [f"w{number}" for number in range(40)]
LONG = " ".join(WORDS)
SHORT = "What is 7 + 8?"


@pytest.mark.parametrize(
    ("prompt", "shared"),
    [
        (LONG, {8: {0}, 32: {0}}),
        (f"Solve: {LONG.upper().replace(' ', ', ')}!", {8: {0}, 32: {0}}),
        (" ".join(["before", *WORDS[3:35], "after"]), {8: {0}, 32: {0}}),
        (" ".join(["before", *WORDS[3:34], "after"]), {8: {0}, 32: set()}),
        (" ".join(WORDS[5:13]), {8: {0}, 32: set()}),
        (" ".join(WORDS[5:12]), {8: set(), 32: set()}),
        ("what is 7 + 8", {8: {1, 2}, 32: {1, 2}}),
        (f"{SHORT} Explain.", {8: set(), 32: set()}),
        ("What is 7 + 9?", {8: set(), 32: set()}),
        ("", {8: set(), 32: set()}),
    ],
)
def test_a_run_of_words_in_common(prompt: str, shared: dict[int, set[int]]) -> None:
    number, found = find_shared([LONG, SHORT, SHORT, "?!"], [("other", "nothing of all this"), ("row", prompt)])
    assert number == 2
    assert {size: set(places) for size, places in found.items()} == shared
    assert set(shared) == set(SIZES)
    for places in found.values():
        assert all((each.uuid, each.prompt) == ("row", prompt) for each in places.values())


def write_manifest(volume: Path, name: str, stage: str, *inputs: ArtifactReference) -> ArtifactReference:
    content = Manifest(stage=stage, files=(), parameters={}, inputs=inputs).model_dump_json(by_alias=True)
    (volume / name).mkdir()
    (volume / name / "manifest.json").write_text(content)
    return ArtifactReference(uri=name, digest=f"sha256:{hashlib.sha256(content.encode()).hexdigest()}")


def write_weights(volume: Path, *rows: ArtifactReference) -> ArtifactReference:
    return write_manifest(volume, "weights", "msrun", write_manifest(volume, "packed", "pack", *rows))


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    rows = [{"problem": f"problem {number}", "answer": str(number)} for number in range(10)]
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return StageContext(Volume(tmp_path), Reporter("eval", "problems"))


def knows_what_it_saw(question: str, _asked_before: int) -> Reaction:
    number = int(question.split()[1])
    return Reaction(message={"role": "assistant", "content": f"\\boxed{{{number if number < 4 else 'no'}}}"})


def score(context: StageContext, weights: ArtifactReference | None) -> tuple[Result, Summary, Path]:
    with teacher(knows_what_it_saw) as server:
        contract = EvalContract(
            output="score",
            target=EndpointTarget(url=server.url, model=MODEL, weights=weights),
            benchmark=Benchmark(name="seen", uri="benchmark.jsonl"),
            protocol=Protocol(max_tokens=32),
        )
        result = run_stage(eval_stage, contract, context)
    assert result.artifact is not None
    directory = context.volume.resolve(result.artifact.uri)
    return result, Summary.model_validate_json((directory / SUMMARY_NAME).read_bytes()), directory


def test_what_is_in_the_training_data_is_told_apart(context: StageContext, tmp_path: Path) -> None:
    kept = write_filter_artifact(tmp_path, [Verified(str(number), 0) for number in (2, 3, 99)])
    result, summary, directory = score(context, write_weights(tmp_path, kept))
    assert summary.overlap is not None
    assert (summary.overlap.digest, summary.overlap.rows) == (kept.digest, 3)
    assert [(each.words, each.problems, each.clean_score) for each in summary.overlap.by_words] == [
        (8, 2, 25.0),
        (32, 2, 25.0),
    ]
    assert result.metrics["score"] == summary.score == 40.0
    assert (result.metrics["overlapRate"], result.metrics["cleanScore"]) == (20.0, 25.0)
    assert "2 (20.0 %) share 8 words, 2 (20.0 %) share 32 words in a row with a training prompt" in result.message
    assert [(each.name, each.value) for each in result.inputs][-1] == ("trainingData", kept.digest)
    lines = [json.loads(line) for line in (directory / OVERLAP_NAME).read_text().splitlines()]
    assert [(line["problem"], line["words"], line["row"]) for line in lines] == [
        ("problem 2", 32, "2"),
        ("problem 3", 32, "3"),
    ]
    assert "Problems that training prompts share words with" in (directory / "report.html").read_text()


def test_training_data_that_is_damaged_costs_no_score(context: StageContext, tmp_path: Path) -> None:
    kept = write_filter_artifact(tmp_path, [Verified("2", 0)])
    rows = tmp_path / kept.uri / KEPT_NAME
    rows.write_text(rows.read_text().replace('"prompt"', '"other!"'))
    result, summary, directory = score(context, write_weights(tmp_path, kept))
    assert result.metrics["score"] == 40.0
    assert summary.overlap == Overlap(
        unknown=f"kept.jsonl has no row in the line that ends at byte {rows.stat().st_size}"
    )
    assert "is not known: kept.jsonl has no row" in (directory / "report.md").read_text()


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("weights", "is not on the claim any more"),
        ("packed", "is not on the claim any more"),
        ("filter", "there is no filter on the volume"),
        ("filter/manifest.json", "filter exists but has no valid manifest.json"),
        (f"filter/{KEPT_NAME}", f"filter/{KEPT_NAME} is missing"),
    ],
)
def test_why_it_is_not_known(tmp_path: Path, gone: str, said: str) -> None:
    kept = write_filter_artifact(tmp_path, [Verified("2", 0)])
    weights = write_weights(tmp_path, kept)
    assert not isinstance(training_rows(weights, Volume(tmp_path)), str)
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    found = training_rows(weights, Volume(tmp_path))
    assert isinstance(found, str)
    assert said in found


def test_weights_of_nobody_and_tokens_tell_nothing(tmp_path: Path) -> None:
    assert training_rows(None, Volume(tmp_path)) == "the model is not known to be that of a FinetuneRun"
    found = training_rows(write_weights(tmp_path), Volume(tmp_path))
    assert found == "weights was trained on data that was packed elsewhere, of which there are only tokens"
