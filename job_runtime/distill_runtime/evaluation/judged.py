"""A judge's word on the samples that the protocol's verifier does not accept.

It is asked when all samples are verified, about those that are wrong, or hold no answer that the verifier can find or
decide; and about some of the right ones, to tell how far the two agree. What was cut off, withheld or never answered is
not judged, nor is what holds nothing but reasoning.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from distill_runtime.client.journal import read_records
from distill_runtime.client.values import Request
from distill_runtime.contract import Judge
from distill_runtime.evaluation.score import ANSWERS_NAME, REFUSED, UNDECIDED, Sample
from distill_runtime.foundation.rows import CUT_OFF
from distill_runtime.judge.agreement import RIGHT, WRONG, Agreement, choose_sample
from distill_runtime.judge.asking import JUDGEMENTS_NAME, ask_judge
from distill_runtime.judge.questions import Case, is_answered, judge_request
from distill_runtime.judge.verdicts import Judgement
from distill_runtime.process.stage import StageContext
from distill_runtime.sources.prompts import Prompt

_DOUBTED: Final = frozenset({WRONG, "noAnswer", *UNDECIDED})

Place = tuple[str, int]
"""A sample, by the uuid of its problem and its number."""


def judge_samples(
    judge: Judge,
    prompts: Mapping[str, Prompt],
    samples: dict[str, dict[int, Sample]],
    artifact: Path,
    context: StageContext,
) -> Agreement:
    """Have the judge decide, and put what it decides into `samples`.

    Args:
        prompts: the problems, by uuid.
        samples: all of them, as the verifier has judged them.
        artifact: directory that has the answers, for what the judge was asked and said.

    Raises:
        WrongInput, Retryable: as `ask_judge`.
    """
    places = {(uuid, number): sample for uuid, of_it in samples.items() for number, sample in of_it.items()}
    right = ((f"{uuid}:{number}", (uuid, number)) for (uuid, number), sample in places.items() if sample.correct)
    wanted = choose_sample(right, judge.agreement_sample)
    wanted |= {place for place, sample in places.items() if _is_doubtful(sample)}

    def requests() -> Iterator[tuple[Place, Request]]:
        for record in read_records(artifact / ANSWERS_NAME):
            place = record["uuid"], record["sample"]
            if place in wanted and is_answered(record["content"]):
                yield place, judge_request(judge, _case(prompts[record["uuid"]], record))

    agreement = Agreement()
    journal = artifact / JUDGEMENTS_NAME
    with closing(ask_judge(judge, requests, len(wanted), journal, context)) as judgements:
        for (uuid, number), judgement in judgements:
            sample = samples[uuid][number]
            agreement.add(str(sample.reason), judgement.decision)
            samples[uuid][number] = _judged(sample, judgement)
    return agreement


def _is_doubtful(sample: Sample) -> bool:
    return sample.reason in _DOUBTED and sample.finish_reason not in (CUT_OFF, REFUSED)


def _case(prompt: Prompt, record: Mapping[str, Any]) -> Case:
    return Case(prompt.text, prompt.answer, record["content"], {"uuid": prompt.uuid, "sample": record["sample"]})


def _judged(sample: Sample, judgement: Judgement) -> Sample:
    """Give the sample as it is after the judge's word: what that leaves open, or was asked in passing, stays."""
    if sample.correct or judgement.decision not in ("accepted", "rejected"):
        return sample
    if judgement.decision == "accepted":
        return replace(sample, reason=RIGHT, decided_by="judge", why=judgement.why)
    reason = WRONG if sample.reason in UNDECIDED else sample.reason
    return replace(sample, reason=reason, decided_by="judge", why=judgement.why)
