"""Prompts that are taken from a benchmark are found, others are not."""

import json
from pathlib import Path

import pytest

from distill_runtime.contract import Decontamination
from distill_runtime.contract.parameters import ProblemSet
from distill_runtime.filtering.contamination import Contamination, read_benchmarks
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.volume import Volume

PROBLEM = "Find the sum of all positive integers n such that n^2 + 12n - 2007 is a perfect square."
SHORT = "What is 7 + 8?"


def write(path: Path, problems: list[str | None], column: str = "problem") -> None:
    path.write_text("".join(json.dumps({column: problem}) + "\n" for problem in problems))


@pytest.fixture
def contamination(tmp_path: Path) -> Contamination:
    write(tmp_path / "aime.jsonl", [PROBLEM, None])
    write(tmp_path / "sums.jsonl", [SHORT], "question")
    benchmarks = (ProblemSet(uri="aime.jsonl"), ProblemSet(uri="sums.jsonl", prompt_column="question"))
    return read_benchmarks(Decontamination(benchmarks=benchmarks), Volume(tmp_path))


@pytest.mark.parametrize(
    ("prompt", "benchmark"),
    [
        (PROBLEM, "aime.jsonl"),
        (f"Solve this. {PROBLEM.upper()} Show your work.", "aime.jsonl"),
        ("find the sum of all positive integers n, such that 2n is a cube", "aime.jsonl"),
        ("Find the sum of all positive odd integers n such that n is prime.", None),
        (PROBLEM.replace("12n", "13n").split("such that ")[1], None),
        (SHORT, "sums.jsonl"),
        ("what is: 7 + 8", "sums.jsonl"),
        ("What is 7 + 9?", None),
        ("", None),
        ("?!", None),
    ],
)
def test_find(contamination: Contamination, prompt: str, benchmark: str | None) -> None:
    assert contamination.find(prompt) == benchmark


def test_a_benchmark_without_problems_is_wrong_input(tmp_path: Path) -> None:
    write(tmp_path / "empty.jsonl", [None, "…"])
    with pytest.raises(WrongInput, match=r"no row of empty\.jsonl has words in column 'problem'"):
        read_benchmarks(Decontamination(benchmarks=(ProblemSet(uri="empty.jsonl"),)), Volume(tmp_path))
