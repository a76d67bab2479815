"""The evaluation as a log of Inspect (https://inspect.aisi.org.uk), for its viewer: a zip of JSON.

The names are those of `inspect_ai.log._log` and `log/_recorders/eval.py`, version 0.3.285, which is not needed to
write it. Samples are written one by one as they are read, so a log takes no more memory than its table of contents.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import orjson

from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.evaluated import Evaluated
from distill_runtime.evaluation.score import ProblemResult, Sample

LOG_NAME: Final = "inspect.eval"

_VERSION: Final = 2
_SCORER: Final = "npu-distill"
_STOP_REASONS: Final = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter"}
_COMPRESSION_LEVEL: Final = 1
"""Texts lose most of what they can lose at the first; more takes several times as long."""
_LONGEST_SUMMARY: Final = 500
"""Characters of a problem in the table of samples, which the viewer loads whole."""


class InspectLog:
    """A log that is being written; a context manager. What is there under its name is replaced.

    Args:
        path: of the log.
        evaluated: what it is about.
    """

    def __init__(self, path: Path, evaluated: Evaluated) -> None:
        self._evaluated = evaluated
        self._path = path
        self._files = ExitStack()
        self._zip: zipfile.ZipFile
        self._summaries: IO[bytes]
        self._input_tokens = self._output_tokens = 0

    def __enter__(self) -> "InspectLog":
        self._summaries = self._files.enter_context(tempfile.TemporaryFile(dir=self._path.parent))
        file = zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL)
        self._zip = self._files.enter_context(file)
        self._write("_journal/start.json", {"version": _VERSION, "eval": _spec(self._evaluated), "plan": _plan()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with self._files:
            if kind is None:
                self._write_summaries()
                self._write("header.json", self._header())

    def add(self, number: int, result: ProblemResult, sample: Sample, record: Mapping[str, Any]) -> None:
        """Write a sample.

        Args:
            number: of the problem, from 1.
            record: the sample's line of the journal.
        """
        evaluated, epoch = self._evaluated, sample.number + 1
        usage = _usage(record)
        self._input_tokens += usage.get("input_tokens", 0)
        self._output_tokens += usage.get("output_tokens", 0)
        common = {
            "id": number,
            "epoch": epoch,
            "target": result.answer,
            "metadata": {"uuid": result.uuid},
            "scores": {_SCORER: _score(sample, record)},
            "model_usage": {evaluated.model: usage} if usage else {},
            "total_time": record.get("seconds"),
        }
        messages: list[dict[str, Any]] = [{"role": "user", "content": result.problem}]
        whole: dict[str, Any] = common | {"input": result.problem, "messages": messages}
        if sample.reason is not None:
            said = _assistant(record, evaluated.model)
            stop = _STOP_REASONS.get(str(sample.finish_reason), "unknown")
            messages.append(said)
            whole["output"] = {
                "model": evaluated.model,
                "choices": [{"message": said, "stop_reason": stop}],
                "usage": usage or None,
                "time": record.get("seconds"),
            }
        self._write(f"samples/{number}_epoch_{epoch}.json", whole)
        head = {"input": result.problem[:_LONGEST_SUMMARY], "completed": True, "message_count": len(messages)}
        self._summaries.write(b"," if self._summaries.tell() else b"[")
        self._summaries.write(orjson.dumps(common | head))

    def _write_summaries(self) -> None:
        self._summaries.write(b"]" if self._summaries.tell() else b"[]")
        self._summaries.seek(0)
        with self._zip.open("summaries.json", "w", force_zip64=True) as file:
            shutil.copyfileobj(self._summaries, file)

    def _header(self) -> dict[str, Any]:
        evaluated = self._evaluated
        tokens = {"input_tokens": self._input_tokens, "output_tokens": self._output_tokens}
        return {
            "version": _VERSION,
            "status": "success",
            "eval": _spec(evaluated),
            "plan": _plan(),
            "results": _results(evaluated),
            "stats": {
                "started_at": evaluated.started.isoformat(),
                "completed_at": evaluated.completed.isoformat(),
                "model_usage": {evaluated.model: tokens | {"total_tokens": sum(tokens.values())}},
            },
        }

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self._zip.writestr(name, orjson.dumps(content))


def _spec(evaluated: Evaluated) -> dict[str, Any]:
    contract = evaluated.contract
    protocol, target = contract.protocol, contract.target
    return {
        "created": evaluated.started.isoformat(),
        "task": contract.benchmark.name,
        "task_id": contract.benchmark.name,
        "dataset": {
            "name": contract.benchmark.name,
            "location": contract.benchmark.uri,
            "samples": len(evaluated.results),
            "sample_ids": list(range(1, len(evaluated.results) + 1)),
        },
        "model": evaluated.model,
        "model_base_url": target.url if isinstance(target, EndpointTarget) else None,
        "model_generate_config": {
            "temperature": protocol.temperature,
            "top_p": protocol.top_p,
            "max_tokens": protocol.max_tokens,
            "seed": protocol.seed,
            "system_message": protocol.system_prompt or None,
        },
        "config": {"epochs": protocol.samples_per_problem, "epochs_reducer": ["mean"]},
        "packages": dict(evaluated.packages),
        "metadata": protocol.model_dump(mode="json", by_alias=True),
    }


def _plan() -> dict[str, Any]:
    return {"name": "plan", "steps": [], "config": {}}


def _results(evaluated: Evaluated) -> dict[str, Any]:
    summary = evaluated.summary
    percent = {
        "accuracy": summary.score,
        "stderr": summary.stderr,
        "ci_lower": summary.interval.low,
        "ci_upper": summary.interval.high,
        "truncated": summary.truncated_rate,
        "unanswered": summary.unanswered_rate,
    }
    score = {
        "name": _SCORER,
        "scorer": _SCORER,
        "reducer": "mean",
        "scored_samples": len(evaluated.results),
        "unscored_samples": 0,
        "params": {"verifier": evaluated.contract.protocol.verifier},
        "metrics": {name: {"name": name, "value": value / 100} for name, value in percent.items()},
    }
    return {"total_samples": summary.samples, "completed_samples": summary.samples, "scores": [score]}


def _score(sample: Sample, record: Mapping[str, Any]) -> dict[str, Any]:
    """Mark a sample as Inspect does: C, I, or N where there is nothing to compare; all but C count as 0.

    What was not answered is no error of Inspect's, of which its viewer says that they are not scored.
    """
    value = "C" if sample.correct else "I" if sample.extracted is not None else "N"
    why = sample.why or sample.reason or f"unanswered: {record['failure_message']}"
    return {"value": value, "answer": sample.extracted, "explanation": why}


def _usage(record: Mapping[str, Any]) -> dict[str, int]:
    """Give the tokens as far as the server has counted them."""
    counted = {"input_tokens": record["prompt_tokens"], "output_tokens": record["completion_tokens"]}
    usage = {name: tokens for name, tokens in counted.items() if tokens is not None}
    return usage | {"total_tokens": sum(usage.values())} if usage else {}


def _assistant(record: Mapping[str, Any], model: str) -> dict[str, Any]:
    content: Any = record["content"]
    if record["reasoning"]:
        content = [{"type": "reasoning", "reasoning": record["reasoning"]}, {"type": "text", "text": content}]
    return {"role": "assistant", "content": content, "model": model, "source": "generate"}
