"""What the verifier does not accept, judged by a model: right after all, or rejected as the verifier has it.

Verifying writes such generations apart. When all are verified, the judge is asked about them, and about a sample of
those that the verifier accepts; then each is written among the accepted rows or the rejects. Killed at any moment, the
second and third step begin again behind what the first has saved: the journal has what was asked.

`judged.jsonl` of the artifact says of every answer that was judged what the verifier and the judge say, and why.
"""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import orjson

from distill_runtime.client.values import Request
from distill_runtime.contract import Judge
from distill_runtime.filtering.doubts import UNDECIDED, Doubt, read_doubts
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.outcomes import DecidedBy, accepted_row, rejected_row
from distill_runtime.filtering.reasons import ACCEPTED, TO_BE_JUDGED
from distill_runtime.filtering.selection import KEY
from distill_runtime.filtering.verifying import Files, Verified
from distill_runtime.judge.agreement import RIGHT, WRONG, Agreement, choose_sample
from distill_runtime.judge.asking import JUDGEMENTS_NAME, ask_judge
from distill_runtime.judge.questions import Case, judge_request
from distill_runtime.judge.verdicts import Judgement
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines

JUDGED_NAME: Final = "judged.jsonl"
"""File of a filter artifact: a line an answer that was judged."""

Row = Mapping[str, Any]
"""An accepted row, as `rows.kept_row`."""


def judge_doubts(
    judge: Judge, files: Files, verified: Verified, artifact: Path, context: StageContext
) -> tuple[Verified, Agreement]:
    """Have the judge decide about what the verifier does not accept.

    Args:
        verified: where verifying has ended; its files are as long as that says.
        artifact: directory for what the judge was asked and said.

    Returns:
        The state with each generation accepted or rejected, and how far judge and verifier agree.

    Raises:
        WrongInput, Retryable: as `ask_judge`.
    """
    chosen = _choose(files, judge.agreement_sample)
    asked_at_most = verified.counts.get(TO_BE_JUDGED, 0) + len(chosen)

    def requests() -> Iterator[tuple[Doubt | Row, Request]]:
        for doubt in read_doubts(files.doubts):
            yield doubt, judge_request(judge, _case_of_doubt(doubt))
        for row in _rows(files.accepted, chosen):
            yield row, judge_request(judge, _case_of_row(row))

    judgements = ask_judge(judge, requests, asked_at_most, artifact / JUDGEMENTS_NAME, context)
    return _write(judgements, files, verified, artifact)


def _write(
    judgements: Generator[tuple[Doubt | Row, Judgement], None, None], files: Files, verified: Verified, artifact: Path
) -> tuple[Verified, Agreement]:
    counts = Counter(verified.counts)
    del counts[TO_BE_JUDGED]
    agreement = Agreement()
    with ExitStack() as stack:
        stack.enter_context(closing(judgements))
        accepted = stack.enter_context(GrowingFile(files.accepted, verified.accepted_size))
        keys = stack.enter_context(GrowingFile(files.keys, counts[ACCEPTED] * KEY.itemsize))
        rejects = stack.enter_context(GrowingFile(files.rejects, verified.rejects_size))
        judged = stack.enter_context(GrowingFile(artifact / JUDGED_NAME, 0))
        for item, judgement in judgements:
            if not isinstance(item, Doubt):
                agreement.add(RIGHT, judgement.decision)
                judged.append(_line(item["uuid"], item["generation"], RIGHT, judgement))
                continue
            generation = item.generation
            agreement.add(item.reason, judgement.decision)
            judged.append(_line(generation.uuid, generation.number, item.reason, judgement))
            reason = _reason(item, judgement)
            counts[reason] += 1
            if reason == ACCEPTED:
                row, key = accepted_row(generation, "judge")
                accepted.append(row)
                keys.append(key)
            else:
                decided_by: DecidedBy = "judge" if judgement.decision == "rejected" else "rules"
                rejects.append(rejected_row(generation, reason, item.found, None, decided_by))
        sizes = {"accepted_size": accepted.size, "rejects_size": rejects.size}
    return verified.model_copy(update={"counts": dict(counts), **sizes}), agreement


def _reason(doubt: Doubt, judgement: Judgement) -> str:
    """Say what becomes of a generation: what the judge leaves open stays as it was."""
    if judgement.decision == "accepted":
        return ACCEPTED
    if judgement.decision == "rejected" and doubt.reason in UNDECIDED:
        return WRONG
    return doubt.reason


def _line(uuid: str, generation: int, reason: str, judgement: Judgement) -> bytes:
    said = {"verifier": reason, "judge": judgement.decision, "why": judgement.why}
    return json_line({"uuid": uuid, "generation": generation, **said})


def _choose(files: Files, number: int) -> set[int]:
    """Choose accepted rows that the judge is asked about as well, by their place."""
    names = (
        (f"{key['prompt']}:{key['generation']}", start + place)
        for start, keys in Keys(files.keys, KEY).chunks()
        for place, key in enumerate(keys)
    )
    return choose_sample(names, number)


def _rows(accepted: Path, chosen: set[int]) -> Iterator[Row]:
    if chosen:
        for place, (line, _) in enumerate(read_lines(accepted)):
            if place in chosen:
                yield orjson.loads(line)


def _case_of_doubt(doubt: Doubt) -> Case:
    generation = doubt.generation
    whose = {"uuid": generation.uuid, "generation": generation.number}
    return Case(generation.prompt, generation.answer, generation.text, whose)


def _case_of_row(row: Row) -> Case:
    whose = {"uuid": row["uuid"], "generation": row["generation"]}
    return Case(row["prompt"], row["answer"], row["messages"][-1]["content"], whose)
