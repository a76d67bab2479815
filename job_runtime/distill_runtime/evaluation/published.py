"""The score as others read it: lm-eval's results, and a model repository's `.eval_results` on the Hugging Face Hub."""

import re
from typing import Any, Final

from distill_runtime.evaluation.evaluated import Evaluated
from distill_runtime.sources.hub import SCHEME, split_uri

LM_EVAL_NAME: Final = "lm-eval/results.json"
HUB_DIRECTORY: Final = ".eval_results"

_NOT_IN_A_NAME: Final = re.compile(r"[\"<>:/\|\\?\*\[\]]+")
"""As `lm_eval.utils.sanitize_model_name` has it."""


def lm_eval_results(evaluated: Evaluated) -> dict[str, Any]:
    """Give the results in the shape of `lm_eval/result_schema.py` of lm-evaluation-harness (4e7e0d47, 2026-08).

    Scores are shares. The standard error is that over problems, of which lm-eval has no other.
    """
    contract, summary = evaluated.contract, evaluated.summary
    protocol, task, problems = contract.protocol, summary.benchmark, summary.problems
    rejected = sum(count for name, count in summary.counts.items() if name.startswith("rejected."))
    sampling = {
        "temperature": protocol.temperature,
        "top_p": protocol.top_p,
        "max_gen_toks": protocol.max_tokens,
        "do_sample": protocol.temperature > 0,
        "seed": protocol.seed,
    }
    return {
        "results": {
            task: {
                "name": task,
                "alias": task,
                "sample_len": problems,
                "exact_match,none": summary.score / 100,
                "exact_match_stderr,none": summary.stderr / 100,
            }
        },
        "group_subtasks": {task: []},
        "configs": {
            task: {
                "task": task,
                "dataset_path": contract.benchmark.uri,
                "dataset_name": contract.benchmark.subset,
                "test_split": contract.benchmark.split,
                "doc_to_text": contract.benchmark.prompt_column,
                "doc_to_target": contract.benchmark.answer_column,
            }
        },
        "versions": {task: evaluated.packages["npu-distill"]},
        "n-shot": {task: len(protocol.few_shot)},
        "higher_is_better": {task: {"exact_match": True}},
        "n-samples": {task: {"original": problems + rejected, "effective": problems}},
        "config": {
            "model": "npu-distill",
            "model_args": {"model": evaluated.model},
            "limit": contract.benchmark.limit,
            "gen_kwargs": sampling,
        },
        "date": evaluated.started.timestamp(),
        "model_source": "npu-distill",
        "model_name": evaluated.model,
        "model_name_sanitized": _NOT_IN_A_NAME.sub("__", evaluated.model),
        "system_instruction": protocol.system_prompt or None,
        "total_evaluation_time_seconds": str((evaluated.completed - evaluated.started).total_seconds()),
    }


def hub_results(evaluated: Evaluated) -> list[dict[str, Any]] | None:
    """Give what a file in `.eval_results` of a model's repository holds (hub-docs, `docs/hub/eval-results.md`).

    The score is in percent, with its date and how it was asked as notes.

    Returns:
        None where the benchmark is no dataset of the hub, which the entry has to name.
    """
    contract = evaluated.contract
    if not contract.benchmark.uri.startswith(SCHEME):
        return None
    name, revision, _ = split_uri(contract.benchmark.uri)
    dataset = {"id": name, "task_id": contract.benchmark.subset or "default"}
    protocol, summary = contract.protocol, evaluated.summary
    return [
        {
            "dataset": dataset | ({"revision": revision} if revision else {}),
            "value": round(summary.score, 2),
            "date": evaluated.completed.date().isoformat(),
            "notes": (
                f"pass@1, {summary.problems} problems x {protocol.samples_per_problem} samples, 95 % interval "
                f"{summary.interval.low:.1f} to {summary.interval.high:.1f}, temperature {protocol.temperature:g}, "
                f"top_p {protocol.top_p:g}, max_tokens {protocol.max_tokens}, {protocol.verifier}"
            ),
        }
    ]
