"""The filter stage: every generation is kept, or rejected with a reason."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.generate_artifacts import Generation, write_generate_artifacts
from support.interrupting import InterruptingEnd, Recording
from support.stage_process import end_stage

from distill_runtime.contract import EXIT_TERMINATED, Decontamination, FilterContract, FilterParameters, Result
from distill_runtime.contract.parameters import ProblemSet
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import filter as filter_stage
from distill_runtime.storage.artifact import open_artifact, verify_content
from distill_runtime.storage.volume import Volume

RIGHT = "So it is \\boxed{\\frac{1}{2}}."
WRONG = "So it is \\boxed{\\frac{1}{3}}."

SHARDS = [
    [
        Generation("p", 0, "0.5", RIGHT, reasoning="Half of one."),
        Generation("p", 1, "0.5", WRONG),
        Generation("q", 0, "0.5", RIGHT, finish_reason="length"),
        Generation("q", 1, "0.5", failure="badRequest"),
        Generation("q", 2, "0.5", "<think>\nHalf.\n</think>\n\n" + RIGHT),
    ],
    [
        Generation("r", 0, "2", "two"),
        Generation("r", 2, "2", "\\boxed{1+1}, and no reasoning"),
        Generation("r", 3, "2", "\\boxed{2}"),
        Generation("r", 4, "2", "\\boxed{2}"),
        Generation("r", 5, "2", "</think>\n\n\\boxed{2}"),
    ],
]
ENDLESS = Generation("r", 1, "2", "\\boxed{9^{9^{9^{9}}}}")
"""An answer that no verifier is ever done with."""


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    write_generate_artifacts(tmp_path, SHARDS)
    return StageContext(Volume(tmp_path), Reporter("filter", "generations"))


@dataclass(frozen=True)
class Filtered:
    """What a run made of all generations, the endless one too.

    Attributes:
        root: the volume, for tests that only read what is there.
    """

    root: Path
    result: Result


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Filtered:
    root = tmp_path_factory.mktemp("filtered")
    write_generate_artifacts(root, [SHARDS[0], [*SHARDS[1], ENDLESS]])
    context = StageContext(Volume(root), Reporter("filter", "generations"))
    return Filtered(root, filter_stage.run(contract(license="apache-2.0", verify_timeout_seconds=3), context))


def contract(shards: int = 2, **parameters: Any) -> FilterContract:
    """Give a contract; a machine that others use turns no answer into a timeout."""
    chosen = FilterParameters(**{"verify_timeout_seconds": 60, **parameters})
    return FilterContract(output="filter", input="generate", shards=shards, filter=chosen)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_generation_is_kept_or_rejected_with_a_reason(filtered: Filtered) -> None:
    result = filtered.result
    assert result.counts == {
        "generations": 11,
        "kept": 5,
        "rejected.duplicate": 1,
        "rejected.failed": 1,
        "rejected.incorrect": 1,
        "rejected.noAnswer": 1,
        "rejected.timeout": 1,
        "rejected.truncated": 1,
    }
    assert result.metrics == {"acceptanceRate": 6 / 11}
    kept = read(filtered.root / "filter" / "kept.jsonl")
    rejects = read(filtered.root / "filter" / "rejects.jsonl")
    told = sorted((row["uuid"], row["generation"]) for row in kept + rejects)
    generations = [*SHARDS[0], *SHARDS[1], ENDLESS]
    assert told == sorted((generation.uuid, generation.index) for generation in generations)
    assert {(row["uuid"], row["generation"]): row["reason"] for row in rejects} == {
        ("p", 1): "incorrect",
        ("q", 0): "truncated",
        ("q", 1): "failed",
        ("r", 0): "noAnswer",
        ("r", 1): "timeout",
        ("r", 4): "duplicate",
    }
    (incorrect,) = [row for row in rejects if row["reason"] == "incorrect"]
    assert (incorrect["answer"], incorrect["found"]) == ("0.5", "\\frac{1}{3}")


def test_a_kept_row_is_a_conversation_with_its_reasoning(filtered: Filtered) -> None:
    rows = {(row["uuid"], row["generation"]): row for row in read(filtered.root / "filter" / "kept.jsonl")}
    assert rows["p", 0] == {
        "uuid": "p",
        "generation": 0,
        "prompt": "the problem p",
        "answer": "0.5",
        "source": None,
        "tokens": 20,
        "teacher": "teacher",
        "decided_by": "rules",
        "messages": [
            {"role": "user", "content": "the problem p"},
            {"role": "assistant", "content": "<think>\nHalf of one.\n</think>\n\n" + RIGHT},
        ],
    }
    texts = {key: row["messages"][1]["content"] for key, row in rows.items()}
    assert texts["q", 2] == "<think>\nHalf.\n</think>\n\n" + RIGHT
    assert texts["r", 2] == "\\boxed{1+1}, and no reasoning"
    assert texts["r", 5] == "<think>\n</think>\n\n\\boxed{2}"


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("first", {("p", 0), ("q", 2), ("r", 2)}),
        ("shortest", {("p", 0), ("q", 2), ("r", 3)}),
        ("longest", {("p", 0), ("q", 2), ("r", 2)}),
    ],
)
def test_keep(context: StageContext, tmp_path: Path, keep: str, kept: set[tuple[str, int]]) -> None:
    result = filter_stage.run(contract(keep=keep), context)
    rows = read(tmp_path / "filter" / "kept.jsonl")
    assert {(row["uuid"], row["generation"]) for row in rows} == kept
    assert result.counts["rejected.notKept"] == 2
    assert result.metrics["acceptanceRate"] == 6 / 10


def test_truncated_generations_may_be_verified_like_others(context: StageContext) -> None:
    result = filter_stage.run(contract(on_truncated="keep"), context)
    assert "rejected.truncated" not in result.counts
    assert result.counts["kept"] == 6


def test_prompts_from_a_benchmark_are_rejected_and_listed(context: StageContext, tmp_path: Path) -> None:
    (tmp_path / "benchmark.jsonl").write_text('{"problem": "The problem Q."}\n')
    benchmarks = Decontamination(benchmarks=(ProblemSet(uri="benchmark.jsonl"),))
    result = filter_stage.run(contract(decontamination=benchmarks), context)
    assert result.counts["rejected.contaminated"] == 3
    assert sum(number for name, number in result.counts.items() if name != "generations") == 10
    rejects = [row for row in read(tmp_path / "filter" / "rejects.jsonl") if row["reason"] == "contaminated"]
    assert {(row["uuid"], row["benchmark"]) for row in rejects} == {("q", "benchmark.jsonl")}


def test_the_report_says_the_same_as_the_counts(filtered: Filtered) -> None:
    result = filtered.result
    report = json.loads((filtered.root / "filter" / "report.json").read_text())
    assert {name: figure["value"] for name, figure in report["figures"].items()} == {
        "generations": 11,
        "accepted": 6,
        "acceptanceRate": pytest.approx(result.metrics["acceptanceRate"]),
        "kept": result.counts["kept"],
    }
    reasons, lengths = report["charts"]
    assert {f"rejected.{bar['label']}": bar["parts"][0] for bar in reasons["bars"]} == {
        name: number for name, number in result.counts.items() if name.startswith("rejected.")
    }
    # All ten answers have 20 tokens; the generation that failed has none.
    assert lengths["bars"] == [{"label": "16 – 31", "parts": [6, 4]}]
    assert lengths["share"] == "accepted"
    (samples,) = report["tables"]
    assert ["incorrect", "p / 1", "0.5", "\\frac{1}{3}"] in samples["rows"]


def test_prompts_that_have_a_source_show_the_acceptance_of_each(tmp_path: Path) -> None:
    generations = [
        Generation("p", 0, "2", "\\boxed{2}", source="olympiads"),
        Generation("p", 1, "2", "\\boxed{2}", source="olympiads"),
        Generation("q", 0, "2", "\\boxed{3}", source="olympiads"),
        Generation("r", 0, "2", failure="badRequest", source="cn_contest"),
        Generation("s", 0, "2", "\\boxed{2}"),
    ]
    write_generate_artifacts(tmp_path, [generations], source_column="source")
    filter_stage.run(contract(1), StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    by_source = json.loads((tmp_path / "filter" / "report.json").read_text())["charts"][-1]
    # The second answer to p repeats the first, and is right all the same.
    assert {bar["label"]: bar["parts"] for bar in by_source["bars"]} == {
        "olympiads": [2, 1],
        "cn_contest": [0, 1],
        "without a source": [1, 0],
    }
    sources = {(row["uuid"], row["generation"]): row["source"] for row in read(tmp_path / "filter" / "kept.jsonl")}
    assert sources == {("p", 0): "olympiads", ("s", 0): None}
    assert {row["source"] for row in read(tmp_path / "filter" / "rejects.jsonl")} == {"olympiads", "cn_contest"}
    released = pq.read_table(tmp_path / "filter" / "dataset" / "data" / "train-00000.parquet")
    assert released.column("source").to_pylist() == ["olympiads", None]


def test_of_several_teachers_each_has_its_acceptance(tmp_path: Path) -> None:
    generations = [
        Generation("p", 0, "2", "\\boxed{2}", teacher="teacher"),
        Generation("p", 1, "2", "\\boxed{2}", teacher="qwq"),
        Generation("q", 0, "2", "\\boxed{3}", teacher="qwq"),
        Generation("q", 1, "2", failure="badRequest", teacher="qwq"),
    ]
    write_generate_artifacts(tmp_path, [generations], additional_models=["qwq"])
    counts = filter_stage.run(contract(1), StageContext(Volume(tmp_path), Reporter("filter", "generations"))).counts
    # The second answer to p repeats the first, and is right all the same.
    assert {name: count for name, count in counts.items() if name.startswith("teachers.")} == {
        "teachers.0.generations": 1,
        "teachers.0.accepted": 1,
        "teachers.1.generations": 3,
        "teachers.1.accepted": 1,
    }
    by_teacher = json.loads((tmp_path / "filter" / "report.json").read_text())["charts"][-1]
    assert {bar["label"]: bar["parts"] for bar in by_teacher["bars"]} == {"teacher": [1, 0], "qwq": [1, 2]}
    card = (tmp_path / "filter" / "dataset" / "README.md").read_text()
    assert "of the teachers `teacher`, `qwq`" in card
    assert "http://teacher/v1" not in card
    assert "promptTokensPerMillion" not in card


def test_the_kept_rows_leave_as_a_data_set_for_others(filtered: Filtered, tmp_path: Path) -> None:
    from datasets import load_dataset  # noqa: PLC0415

    directory = filtered.root / "filter" / "dataset"
    rows = load_dataset(str(directory), split="train", cache_dir=str(tmp_path / "cache")).to_list()
    assert rows == read(filtered.root / "filter" / "kept.jsonl")
    card = (directory / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "| generations | 11 |" in card
    assert '"generationsPerPrompt": 1' in card
    assert "http://teacher/v1" not in card
    assert "promptTokensPerMillion" not in card


def test_the_artifact_knows_where_it_comes_from(filtered: Filtered) -> None:
    result = filtered.result
    assert result.artifact is not None
    directory, manifest = open_artifact(Volume(filtered.root), result.artifact)
    verify_content(directory, manifest)
    assert [reference.uri for reference in manifest.inputs] == [
        "generate/shard-00000-of-00002",
        "generate/shard-00001-of-00002",
    ]
    names = [file.path for file in manifest.files]
    release = ["dataset/README.md", "dataset/data/train-00000.parquet"]
    assert names == [*release, "kept.jsonl", "rejects.jsonl", "report.html", "report.json"]
    assert manifest.counts == result.counts


def test_too_low_an_acceptance_rate_is_wrong_input(context: StageContext, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"6 of 10 generations \(60\.0 %\).*1 incorrect.*asks for 70 %") as refusal:
        filter_stage.run(contract(min_acceptance_rate=0.7), context)
    assert refusal.value.reason == "AcceptanceRateTooLow"
    assert len(read(tmp_path / "filter.partial" / "rejects.jsonl")) == 4
    assert not (tmp_path / "filter").exists()


def test_nothing_right_is_wrong_input(tmp_path: Path) -> None:
    write_generate_artifacts(tmp_path, [[Generation("p", 0, "1", "\\boxed{2}")]])
    with pytest.raises(WrongInput) as refusal:
        filter_stage.run(contract(1), StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    assert refusal.value.reason == "NothingAccepted"


def test_a_probe_may_solve_nothing(tmp_path: Path) -> None:
    """That is a pass rate too, and what is to be trained on comes from elsewhere."""
    write_generate_artifacts(tmp_path, [[Generation("p", 0, "1", "\\boxed{2}")]])
    probed = contract(1).model_copy(update={"purpose": "passRates"})
    result = filter_stage.run(probed, StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    assert result.counts == {"generations": 1, "kept": 0, "rejected.incorrect": 1}
    assert result.metrics == {"acceptanceRate": 0.0}


def test_answers_that_are_corrected_are_asked_for_anew_and_judged_anew(context: StageContext, tmp_path: Path) -> None:
    instruction = r"reference answers.*: give the corrected source another uri, .*, remove generate from the claim"
    with pytest.raises(WrongInput, match=instruction):
        filter_stage.run(contract(min_acceptance_rate=0.7), context)
    shutil.rmtree(tmp_path / "generate")
    write_generate_artifacts(tmp_path, [[Generation("p", 0, "1/3", WRONG), Generation("q", 0, "0.5", RIGHT)]])
    counts = filter_stage.run(contract(1, min_acceptance_rate=0.7), context).counts
    assert (counts["generations"], counts["kept"]) == (2, 2)


def test_generations_that_are_others_after_a_restart_are_judged_anew(context: StageContext, tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        filter_stage.run(contract(), StageContext(context.volume, InterruptingEnd()))
    shutil.rmtree(tmp_path / "generate")
    write_generate_artifacts(tmp_path, [[Generation("p", 0, "1/3", WRONG)]])
    assert filter_stage.run(contract(1), context).counts == {"generations": 1, "kept": 1}


def test_generations_that_were_asked_for_anew_are_filtered_anew(context: StageContext, tmp_path: Path) -> None:
    first = run_stage(filter_stage, contract(), context)
    shutil.rmtree(tmp_path / "generate")
    write_generate_artifacts(tmp_path, [[Generation("p", 0, "1/3", WRONG)]])
    second = run_stage(filter_stage, contract(1), context)
    assert second.counts == {"generations": 1, "kept": 1}
    assert second.artifact != first.artifact


def test_shards_of_different_prompts_are_not_put_together(tmp_path: Path) -> None:
    write_generate_artifacts(tmp_path, [SHARDS[0], SHARDS[1], SHARDS[1]], prompts=["", "sha256:a", "sha256:b"])
    message = r"prompts\.jsonl was sha256:a for one, and sha256:b for shard 2"
    with pytest.raises(WrongInput, match=message) as refusal:
        filter_stage.check(contract(3), StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    assert refusal.value.reason == "ShardsDiffer"


@pytest.mark.parametrize("entry", [filter_stage.check, filter_stage.run])
def test_a_missing_shard_is_named(context: StageContext, tmp_path: Path, entry: Any) -> None:
    shutil.move(tmp_path / "generate" / "shard-00001-of-00002", tmp_path / "elsewhere")
    with pytest.raises(WrongInput, match=r"shard 1 of 2 .* there is no generate/shard-00001-of-00002") as refusal:
        entry(contract(), context)
    assert refusal.value.reason == "ShardMissing"


def test_no_generation_at_all_is_wrong_input(tmp_path: Path) -> None:
    write_generate_artifacts(tmp_path, [[], []])
    with pytest.raises(WrongInput) as refusal:
        filter_stage.check(contract(), StageContext(Volume(tmp_path), Reporter("filter", "generations")))
    assert refusal.value.reason == "NothingToFilter"


def test_a_stage_that_was_ended_goes_on_to_the_same_artifact(tmp_path: Path) -> None:
    # Every twenty-fifth answer is one that only math-verify can tell: it takes seconds, also for who waits to end it.
    generations = [
        Generation(f"p{number}", 0, "7", f"\\boxed{{{number % 9}}}" if number % 25 else f"\\boxed{{{number}x}}")
        for number in range(6_000)
    ]
    write_generate_artifacts(tmp_path, [generations])
    patient = contract(1)
    context = StageContext(Volume(tmp_path), Reporter("filter", "generations"))
    undisturbed = filter_stage.run(patient, context)
    assert sum(number for name, number in undisturbed.counts.items() if name != "generations") == 6_000
    shutil.rmtree(tmp_path / "filter")
    rejects = tmp_path / "filter.partial" / "rejects.jsonl"
    assert end_stage(tmp_path, patient, rejects, 100_000, signal.SIGTERM) == EXIT_TERMINATED
    assert end_stage(tmp_path, patient, rejects, 250_000, signal.SIGKILL) == -signal.SIGKILL
    assert filter_stage.run(patient, context) == undisturbed
    assert not (tmp_path / "filter.partial").exists()
    assert not (tmp_path / "filter.work").exists()


def test_ended_before_its_artifact_is_complete_it_verifies_nothing_again(context: StageContext) -> None:
    with pytest.raises(Terminated):
        filter_stage.run(contract(), StageContext(context.volume, InterruptingEnd()))
    resumed = Recording()
    result = filter_stage.run(contract(), StageContext(context.volume, resumed))
    assert result.counts["kept"] == 5
    assert set(resumed.done) == {10}
