"""What people get of an evaluation: a page, a text for a model card, and the results in the shapes of other tools.

    report.html            the page (see `reporting.evaluation`); report.md: its scores for a model card
    inspect.eval           every answer with its verdict, for `inspect view`
    lm-eval/results.json   the score as lm-eval writes it
    .eval_results/         the score as the Hugging Face Hub reads it, of a benchmark that is there

The answers' texts are read once, one by one.
"""

import json
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from distill_runtime.client.journal import read_records
from distill_runtime.evaluation.evaluated import TRUNCATED, Evaluated, choose_samples, verdict_of
from distill_runtime.evaluation.inspect_log import LOG_NAME, InspectLog
from distill_runtime.evaluation.published import HUB_DIRECTORY, LM_EVAL_NAME, hub_results, lm_eval_results
from distill_runtime.evaluation.score import ProblemResult, Sample
from distill_runtime.evaluation.summary_report import report_of, write_report
from distill_runtime.foundation.reasoning import joined
from distill_runtime.reporting import lengths
from distill_runtime.reporting.report import Bar, Chart
from distill_runtime.reporting.samples import ShownSample, shortened

_MOST_SHOWN: Final = 150
"""Samples on the page, each with at most some 6 KB of its text."""
_LENGTH_PARTS: Final = ("correct", "not correct", TRUNCATED)


def write_outputs(evaluated: Evaluated, sentence: str, more: Sequence[Chart], answers: Path, directory: Path) -> None:
    """Write all of it into a directory.

    Args:
        sentence: the result in a sentence.
        more: charts for the page besides its own.
        answers: the journal.
    """
    places = {result.uuid: (number, result) for number, result in enumerate(evaluated.results, start=1)}
    chosen = choose_samples(evaluated.results, _MOST_SHOWN)
    shown: dict[tuple[int, int], ShownSample] = {}
    tokens = {part: array("q") for part in _LENGTH_PARTS}
    with InspectLog(directory / LOG_NAME, evaluated) as log:
        for record in read_records(answers):
            number, result = places[record["uuid"]]
            sample = result.samples[record["sample"]]
            log.add(number, result, sample, record)
            if record["completion_tokens"] is not None:
                tokens[_length_part(sample)].append(record["completion_tokens"])
            if (result.uuid, sample.number) in chosen:
                shown[number, sample.number] = shown_sample(number, result, sample, record)
    charts = (_verdicts(evaluated), _lengths(tokens), *more)
    samples = [shown[place] for place in sorted(shown)]
    write_report(report_of(evaluated.model, evaluated.summary, sentence, (), charts, samples, ()), directory)
    (directory / LM_EVAL_NAME).parent.mkdir(exist_ok=True)
    text = json.dumps(lm_eval_results(evaluated), ensure_ascii=False, indent=2)
    (directory / LM_EVAL_NAME).write_text(text + "\n", encoding="utf-8")
    entries = hub_results(evaluated)
    if entries is not None:
        (directory / HUB_DIRECTORY).mkdir(exist_ok=True)
        path = directory / HUB_DIRECTORY / f"{entries[0]['dataset']['id'].replace('/', '--')}.yaml"
        path.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _verdicts(evaluated: Evaluated) -> Chart:
    verdicts = Counter(verdict_of(sample) for result in evaluated.results for sample in result.samples)
    bars = tuple(Bar(label=verdict, parts=(number,)) for verdict, number in verdicts.most_common())
    return Chart(title="Verdicts", parts=("samples",), bars=bars)


def _lengths(tokens: Mapping[str, "array[int]"]) -> Chart:
    """Draw how long answers are, as far as the server has counted it: are those that go wrong the long ones?"""
    counts = [lengths.count_by_doubling(np.array(tokens[part], np.int64)) for part in _LENGTH_PARTS]
    bars = tuple(
        Bar(label=lengths.label(bar), parts=tuple(int(count[bar]) for count in counts)) for bar in lengths.span(*counts)
    )
    return Chart(title="Tokens of an answer", parts=_LENGTH_PARTS, share="correct", bars=bars)


def _length_part(sample: Sample) -> str:
    verdict = verdict_of(sample)
    return verdict if verdict in ("correct", TRUNCATED) else "not correct"


def shown_sample(number: int, result: ProblemResult, sample: Sample, record: Mapping[str, Any]) -> ShownSample:
    """Give a sample as the page shows it, of its line of the journal."""
    answered = sample.reason is not None
    text = joined(record["reasoning"], record["content"]) if answered else str(record["failure_message"])
    return ShownSample(
        number=f"{number}" if len(result.samples) == 1 else f"{number}.{sample.number + 1}",
        verdict=verdict_of(sample),
        problem=result.problem,
        reference=result.answer,
        extracted=sample.extracted,
        text=shortened(text),
        tokens=record["completion_tokens"],
    )
