"""What people get of an evaluation says the same in every shape, and in the shapes that others read."""

import json
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from support.environments import python_with

from distill_runtime.client.journal import Journal
from distill_runtime.client.values import Answer, Failure, Reply, Request, request_key
from distill_runtime.contract import Benchmark, EvalContract, Protocol
from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.evaluated import Evaluated, choose_samples, verdict_of
from distill_runtime.evaluation.outputs import write_outputs
from distill_runtime.evaluation.score import ProblemResult, Sample, count_samples
from distill_runtime.evaluation.summarising import summarise
from distill_runtime.evaluation.summary import Overlap, ProtocolFingerprint

RIGHT = Sample(0, "correct", "2", "stop")
CUT_OFF = Sample(1, "noAnswer", None, "length")
WRONG = Sample(0, "incorrect", "3", "stop")
UNANSWERED = Sample(1, None, None, None)
RESULTS = [
    ProblemResult("u1", "1 + 1?", "2", (RIGHT, CUT_OFF)),
    ProblemResult("u2", "2 + 2?", "4", (WRONG, UNANSWERED)),
]
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)

READERS = Path(__file__).parents[3] / "readers" / "requirements.txt"


def evaluated(uri: str) -> Evaluated:
    contract = EvalContract(
        output="score",
        target=EndpointTarget(url="http://x/v1", model="org/model"),
        benchmark=Benchmark(name="math-500", uri=uri),
        protocol=Protocol(samples_per_problem=2),
    )
    counts = count_samples(RESULTS)
    summary = summarise(
        "math-500", contract.protocol, ProtocolFingerprint(), RESULTS, counts, {}, Overlap(unknown="nobody looked")
    )
    return Evaluated(contract, RESULTS, summary, {"npu-distill": "1"}, NOON, NOON)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    with Journal(path) as journal:
        for result in reversed(RESULTS):
            for sample in result.samples:
                record = {"uuid": result.uuid, "sample": sample.number}
                request = Request(request_key(result.uuid, sample.number), {}, record)
                if sample.reason is None:
                    journal.append(Failure(request, "refused", "status 400", "http://x", 1))
                else:
                    reply = Reply("said </pre>", "thought", str(sample.finish_reason), 3, 7, "m")
                    journal.append(Answer(request, reply, "http://x", 1, 0.5))
    return path


def test_an_inspect_log_has_every_sample(tmp_path: Path, answers: Path) -> None:
    write_outputs(evaluated("b.jsonl"), "50 %", (), answers, tmp_path)
    with zipfile.ZipFile(tmp_path / "inspect.eval") as log:
        read = {name: json.loads(log.read(name)) for name in log.namelist()}
    samples = {f"samples/{number}_epoch_{epoch}.json" for number in (1, 2) for epoch in (1, 2)}
    assert set(read) == {"_journal/start.json", "summaries.json", "header.json"} | samples
    marks = {(each["id"], each["epoch"]): each["scores"]["npu-distill"]["value"] for each in read["summaries.json"]}
    assert marks == {(1, 1): "C", (1, 2): "N", (2, 1): "I", (2, 2): "N"}
    cut_off = read["samples/1_epoch_2.json"]
    assert cut_off["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert cut_off["messages"][1]["content"][0] == {"type": "reasoning", "reasoning": "thought"}
    unanswered = read["samples/2_epoch_2.json"]
    assert unanswered["scores"]["npu-distill"]["explanation"] == "unanswered: status 400"
    assert read["header.json"]["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.25
    assert read["header.json"]["stats"]["model_usage"]["org/model"]["total_tokens"] == 30


READ = """
import json, sys
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries
from lm_eval.result_schema import EvalResults
from pydantic import ConfigDict, TypeAdapter, with_config

log = read_eval_log(sys.argv[1])
summaries = read_eval_log_sample_summaries(sys.argv[1])
with open(sys.argv[2]) as file:
    results = TypeAdapter(with_config(ConfigDict(extra="forbid"))(EvalResults)).validate_json(file.read(), strict=True)
json.dump(
    {
        "status": log.status,
        "metrics": {name: metric.value for name, metric in log.results.scores[0].metrics.items()},
        "marks": [[s.id, s.epoch, s.scores["npu-distill"].value, s.output.completion] for s in log.samples],
        "answers": [summary.scores["npu-distill"].answer for summary in summaries],
        "exact_match": results["results"]["math-500"]["exact_match,none"],
    },
    sys.stdout,
)
"""


def test_inspect_and_lm_eval_read_what_is_written_for_them(tmp_path: Path, answers: Path) -> None:
    """Their own programs do, of which the requirements are in tests/readers."""
    write_outputs(evaluated("b.jsonl"), "50 %", (), answers, tmp_path)
    command = [python_with(READERS), "-c", READ, tmp_path / "inspect.eval", tmp_path / "lm-eval" / "results.json"]
    read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert read["status"] == "success"
    assert read["metrics"]["accuracy"] == read["exact_match"] == 0.25
    said = "said </pre>"
    assert sorted(read["marks"]) == [[1, 1, "C", said], [1, 2, "N", said], [2, 1, "I", said], [2, 2, "N", ""]]
    assert sorted(read["answers"], key=str) == ["2", "3", None, None]


def test_lm_eval_results_are_in_its_words(tmp_path: Path, answers: Path) -> None:
    write_outputs(evaluated("b.jsonl"), "50 %", (), answers, tmp_path)
    read = json.loads((tmp_path / "lm-eval" / "results.json").read_text())
    assert read["results"]["math-500"] == {
        "name": "math-500",
        "alias": "math-500",
        "sample_len": 2,
        "exact_match,none": 0.25,
        "exact_match_stderr,none": 0.25,
    }
    assert read["model_name_sanitized"] == "org__model"


@pytest.mark.parametrize(
    ("uri", "dataset"),
    [
        ("hf://HuggingFaceH4/MATH-500", {"id": "HuggingFaceH4/MATH-500", "task_id": "default"}),
        ("hf://datasets/a/b@c1/test.jsonl", {"id": "a/b", "task_id": "default", "revision": "c1"}),
        ("inputs/b.jsonl", None),
    ],
)
def test_the_hub_is_told_of_its_own_benchmarks(
    tmp_path: Path, answers: Path, uri: str, dataset: dict[str, str] | None
) -> None:
    write_outputs(evaluated(uri), "50 %", (), answers, tmp_path)
    files = list(tmp_path.glob(".eval_results/*.yaml"))
    assert len(files) == (dataset is not None)
    for file in files:
        (entry,) = yaml.safe_load(file.read_text())
        assert (entry["dataset"], entry["value"], entry["date"]) == (dataset, 25.0, "2026-11-28")


def test_every_verdict_is_shown_however_rare() -> None:
    results = [ProblemResult(f"u{number}", "?", "2", (RIGHT,)) for number in range(1000)]
    results[500:500] = RESULTS
    chosen = choose_samples(results, 20)
    samples = {(result.uuid, sample.number): verdict_of(sample) for result in results for sample in result.samples}
    assert len(chosen) == 20
    assert {samples[key] for key in chosen} == {"correct", "incorrect", "truncated", "unanswered"}
    assert len(choose_samples(RESULTS, 20)) == 4
