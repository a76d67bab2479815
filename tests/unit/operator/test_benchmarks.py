"""Benchmarks by name: what the contract has then, and that what an object sets itself wins."""

import re
from typing import Any

import pytest
from unit.operator.builders import SETTINGS, resource

from distill_operator.api.evaluation import EvalBenchmark
from distill_operator.plan.kinds import KIND_PLANS
from distill_operator.plan.stages import Invalid, Stage
from distill_runtime.contract import Benchmark, EvalContract
from distill_runtime.contract.benchmarks import known_benchmarks

ENDPOINT = {"endpoint": {"url": "http://served/v1", "model": "qwen"}}
OWN = {"uri": "math/test.jsonl"}


def plan(benchmark: dict[str, Any], protocol: dict[str, Any] | None = None) -> Stage | Invalid:
    spec: dict[str, Any] = {"target": ENDPOINT, "accelerator": None, "benchmark": benchmark, "protocol": protocol or {}}
    planned = KIND_PLANS["EvalRun"].plan_stage(resource("EvalRun", spec), "eval", {}, None, SETTINGS)
    assert isinstance(planned, Stage | Invalid)
    return planned


def contract(benchmark: dict[str, Any], protocol: dict[str, Any] | None = None) -> EvalContract:
    planned = plan(benchmark, protocol)
    assert isinstance(planned, Stage)
    assert isinstance(planned.contract, EvalContract)
    return planned.contract


@pytest.mark.parametrize("name", known_benchmarks())
def test_a_name_stands_for_one_content_and_a_way_to_ask_it(name: str) -> None:
    asked = contract({"name": name})
    assert re.search(r"@[0-9a-f]{40}/", asked.benchmark.uri), "a revision that cannot move"
    assert (asked.benchmark.name, asked.protocol.verifier) == (name, known_benchmarks()[name].verifier)
    assert asked.protocol.samples_per_problem == known_benchmarks()[name].samples_per_problem
    assert asked.protocol.system_prompt == contract({"name": "own", **OWN}).protocol.system_prompt


def test_those_that_are_known() -> None:
    assert list(known_benchmarks()) == ["aime-2024", "aime-2025", "gpqa-diamond", "gsm8k", "math-500"]


@pytest.mark.parametrize(
    ("benchmark", "protocol", "expected"),
    [
        ({"name": "gsm8k"}, {"verifier": "math-verify"}, {"verifier": "math-verify"}),
        ({"name": "gsm8k"}, {"verifier": "regex", "answerPattern": "a"}, {"verifier": "regex"}),
        ({"name": "math-500"}, {"samplesPerProblem": 1}, {"samples_per_problem": 1}),
        ({"name": "math-500"}, {"temperature": 0}, {"samples_per_problem": 1}),
        ({"name": "gsm8k", "promptColumn": "problem"}, {}, {"prompt_column": "problem"}),
        ({"name": "gsm8k", "limit": 3}, {}, {"limit": 3, "prompt_column": "question"}),
        (
            {"name": "gpqa-diamond", "promptColumn": "Question"},
            {},
            {"problem_template": None, "prompt_column": "Question", "choice_order": "shuffled"},
        ),
        ({"name": "gpqa-diamond", "choiceOrder": "given"}, {}, {"choice_order": "given"}),
    ],
)
def test_what_is_given_wins(benchmark: dict[str, Any], protocol: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = contract(benchmark, protocol)
    found = asked.benchmark.model_dump() | asked.protocol.model_dump()
    assert {name: found[name] for name in expected} == expected


def test_with_a_uri_the_name_is_a_name_only() -> None:
    """What was asked before a benchmark of this name was known stays what it was."""
    named, other = (contract({"name": name, **OWN}) for name in ("math-500", "own"))
    assert named.benchmark == other.benchmark.model_copy(update={"name": "math-500"})
    assert named.protocol == other.protocol
    written = {"promptColumn": "problem", "answerColumn": "answer"}
    protocol = {"samplesPerProblem": 1, "verifier": "math-verify"}
    assert contract({"name": "math-500", **OWN, **written}, protocol).output == named.output


@pytest.mark.parametrize(
    ("benchmark", "words"),
    [
        ({"name": "math-501"}, r"'math-501' is not among .*aime-2024, .*set benchmark\.uri"),
        ({"name": "gpqa-diamond", "answerColumn": "Question"}, "problemTemplate tells the answer"),
    ],
)
def test_what_does_not_go_together_is_said(benchmark: dict[str, Any], words: str) -> None:
    refused = plan(benchmark)
    assert isinstance(refused, Invalid)
    assert re.search(words, refused.message)


def test_the_resource_has_the_contract_s_fields() -> None:
    assert set(EvalBenchmark.model_fields) == set(Benchmark.model_fields)
