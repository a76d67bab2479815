"""The filter stage: verify every generation against the reference answer, keep the right ones.

The generations are those of the generate stage, or those that a table of rows has already. The artifact:

* `kept.jsonl`: what training may use (see `rows.kept_row`).
* `rejects.jsonl`: every other generation, each with the reason; its text is in the generate stage's artifact, or
  in the row of that position.
* `judged.jsonl`, `judgements.jsonl`: with a judge, what it and the verifier say of each answer that it was asked about,
  and its whole replies (see `filtering.judged`).
* `dataset/`: the kept rows as parquet, with a card, for others (see `filtering.release`).
* `preferences/`: with `preferencePairs`, pairs of a kept and a wrong answer (see `filtering.preferences`).
* `report.html`, `report.json`: the same for people (see `filtering.summary`).

Accepted rows before the selection, what a judge is yet to be asked about, and the checkpoint, are in `<output>.work`
until the artifact is complete.

The counts close: generations = kept + every `rejected.…`. With rows, `rows` says how many were read.
"""

from collections.abc import Mapping
from pathlib import Path

import orjson

from distill_runtime.contract import FilterContract, FilterParameters, InputFingerprint, Result
from distill_runtime.filtering.answered import open_rows
from distill_runtime.filtering.contamination import Contamination, read_benchmarks
from distill_runtime.filtering.generations import Generations, Place
from distill_runtime.filtering.judged import judge_doubts
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.majority import Majorities, elect
from distill_runtime.filtering.preferences import PREFERENCES_DIRECTORY, write_preferences
from distill_runtime.filtering.reasons import ACCEPTED
from distill_runtime.filtering.release import RELEASE_DIRECTORY, write_card, write_release
from distill_runtime.filtering.selection import FATES, KEY, select
from distill_runtime.filtering.shards import open_shards
from distill_runtime.filtering.sources import chart_by_source, chart_by_teacher, count_by_teacher
from distill_runtime.filtering.summary import summarise
from distill_runtime.filtering.verifying import Files, Verified, verify_generations
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.judge.agreement import Agreement
from distill_runtime.judge.asking import check_judge, fingerprint_judge
from distill_runtime.process.stage import StageContext
from distill_runtime.sources.fingerprint import fingerprint_source
from distill_runtime.sources.layout import Selection
from distill_runtime.storage.artifact import ArtifactWriter, versions_of
from distill_runtime.storage.inputs import discard_if_changed
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines
from distill_runtime.verification import open_verifier

_TOLD = ("uuid", "generation", "answer", "source", "teacher")
"""What of a row a reject has."""


def fingerprints(contract: FilterContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the generations or rows are, the benchmarks, and the judge.

    Raises:
        WrongInput: as `open_shards` and `fingerprint_source`.
        Retryable: as `fingerprint_judge`.
    """
    read = contract.input
    if isinstance(read, str):
        generations = open_shards(read, contract.shards, context.volume).identity(read)
    else:
        generations = fingerprint_source("rows", read.uri, context.volume, Selection(read.subset, read.split))
    decontamination = contract.filter.decontamination
    benchmarks = (
        fingerprint_source("benchmark", each.uri, context.volume, Selection(each.subset, each.split))
        for each in (decontamination.benchmarks if decontamination else ())
    )
    return (generations, *benchmarks, *fingerprint_judge(contract.filter.judge, context))


def check(contract: FilterContract, context: StageContext) -> None:
    """Check that the generations are there, complete or with all their columns; so are verifier, judge and benchmarks.

    Raises:
        WrongInput: as `open_shards`, `open_rows`, `open_verifier`, `check_judge` and `read_benchmarks`.
    """
    _open_generations(contract, context)
    open_verifier(contract.filter)
    check_judge(contract.filter.judge, context)
    _read_benchmarks(contract, context)


def run(contract: FilterContract, context: StageContext) -> Result:
    """Verify, have the judge decide what the verifier does not accept, select, finish.

    Raises:
        WrongInput: as `check`, AcceptanceRateTooLow or NothingAccepted; as `judge_doubts`.
        Retryable: as `verify_all` and `judge_doubts`.
    """
    check_judge(contract.filter.judge, context)
    source = _open_generations(contract, context)
    discard_if_changed(context.volume, contract, context.fingerprints)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    writer.work.mkdir(exist_ok=True)
    files = Files(
        accepted=writer.work / "accepted.jsonl",
        keys=writer.work / "keys",
        rejects=writer.directory / REJECTS_NAME,
        doubts=writer.work / "doubts.jsonl",
        checkpoint=writer.work / "checkpoint.json",
    )
    rows = {"rows": source.total} if source.unit == "rows" else {}
    context.reporter.update(total=source.total, unit=source.unit, message="verifying", counts=rows)
    benchmarks, majorities = _read_benchmarks(contract, context), _elect(source, contract, context)
    verified = verify_generations(source, files, contract.filter, benchmarks, majorities, context.reporter)
    generations = sum(verified.counts.values())
    read = {"generations": generations, "rows": verified.rows}[source.unit]
    if read != source.total:
        raise RuntimeError(f"{read} {source.unit} were verified, the source counts {source.total}")
    agreement: Agreement | None = None
    if contract.filter.judge is not None:
        verified, agreement = judge_doubts(contract.filter.judge, files, verified, writer.directory, context)
    accepted = verified.counts.get(ACCEPTED, 0)
    refusal = _refusal(verified.counts, contract, context.volume.relative(files.rejects))
    if refusal is not None:
        files.checkpoint.unlink()  # whoever runs it again has corrected something, and all is to be verified anew
        raise refusal

    context.reporter.update(message="selecting")
    unselected = _select(files, verified, contract.filter, writer.directory / KEPT_NAME)
    rejected = {reason: number for reason, number in verified.counts.items() if reason != ACCEPTED} | unselected
    counts = {
        **rows,
        "generations": generations,
        "kept": accepted - sum(unselected.values()),
        **{f"rejected.{reason}": number for reason, number in sorted(rejected.items()) if number},
        **(agreement.counts if agreement else {}),
    }
    if contract.filter.preference_pairs is not None:
        context.reporter.update(message="pairing right and wrong answers")
        counts["preferencePairs"] = write_preferences(
            source,
            writer.directory / KEPT_NAME,
            files.rejects,
            contract.filter.preference_pairs.max_per_prompt,
            writer.work,
            writer.directory / PREFERENCES_DIRECTORY,
        )
    metrics = {"acceptanceRate": accepted / generations, **(agreement.metrics if agreement else {})}
    kept = writer.directory / KEPT_NAME
    charts = [chart_by_source(kept, files.rejects)] if source.have_sources else []
    if len(source.teachers) > 1:
        counts |= count_by_teacher(kept, files.rejects, source.teachers)
        charts.append(chart_by_teacher(counts, source.teachers))
    if agreement is not None:
        charts.append(agreement.chart())
    summarise(
        contract.subject, counts, metrics, Keys(files.keys, KEY), files.rejects, source.length_unit, charts
    ).write(writer.directory)
    card = write_card(contract.subject, contract.filter.license, counts, source.origin, contract.filter.to_json())
    write_release(kept, writer.directory / RELEASE_DIRECTORY, card)
    context.reporter.update(message="making the artifact complete", counts=counts, metrics=metrics)
    return Result(
        outcome="Succeeded",
        reason="Filtered",
        message=f"{accepted} of {generations} generations are right ({100 * metrics['acceptanceRate']:.1f} %), "
        f"{counts['kept']} of them are kept" + (f"; {agreement}" if agreement else ""),
        artifact=writer.finish(counts, metrics, source.references, versions_of(("math-verify", "sympy"))),
        counts=counts,
        metrics=metrics,
    )


def _open_generations(contract: FilterContract, context: StageContext) -> Generations:
    if isinstance(contract.input, str):
        return open_shards(contract.input, contract.shards, context.volume)
    return open_rows(contract.input, contract.filter.verifier == "recorded", context.volume)


def _read_benchmarks(contract: FilterContract, context: StageContext) -> Contamination | None:
    parameters = contract.filter.decontamination
    return None if parameters is None else read_benchmarks(parameters, context.volume)


def _elect(source: Generations, contract: FilterContract, context: StageContext) -> Majorities | None:
    if contract.filter.verifier != "majority":
        return None
    context.reporter.update(message="counting the answers of each prompt")
    majorities = elect(source.read(Place()), contract.filter)
    context.reporter.update(message="verifying")
    return majorities


def _refusal(counts: Mapping[str, int], contract: FilterContract, rejects: str) -> WrongInput | None:
    """Say why the generations are not good enough, if they are not, and what to do about it."""
    accepted, generations = counts.get(ACCEPTED, 0), sum(counts.values())
    rejected = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()) if reason != ACCEPTED)
    figures = f"{accepted} of {generations} generations ({100 * accepted / generations:.1f} %); rejected: {rejected}"
    rate = contract.filter.min_acceptance_rate
    if contract.purpose == "passRates":
        return None
    if not accepted:
        return WrongInput(
            "NothingAccepted",
            f"the verifier accepted {figures}; {rejects} says why for each. {_remedy(contract)}",
        )
    if accepted < rate * generations:
        return WrongInput(
            "AcceptanceRateTooLow",
            f"the verifier accepted {figures}; minAcceptanceRate asks for {100 * rate:g} %. {rejects} says why for "
            f"each. {_remedy(contract)} Or lower the rate.",
        )
    return None


def _remedy(contract: FilterContract) -> str:
    if not isinstance(contract.input, str):
        return f"Correct the rows, which are read again from {contract.input.uri} when the stage runs again."
    return (
        "Ask a better teacher, or correct the reference answers, which generate has copied: give the corrected source "
        f"another uri, in a new object, or delete this one, remove {contract.input} from the claim, and create it "
        "again; all is asked again."
    )


def _select(files: Files, verified: Verified, parameters: FilterParameters, kept_path: Path) -> dict[str, int]:
    """Write the kept rows; give the number of those that are not, by reason.

    Started again it does the same again: the rejects grow from the size they have in the checkpoint.
    """
    fates = select(Keys(files.keys, KEY), parameters.keep, parameters.max_per_prompt)
    with GrowingFile(kept_path, 0) as kept, GrowingFile(files.rejects, verified.rejects_size) as rejects:
        for (line, _), fate in zip(read_lines(files.accepted), fates, strict=True):
            if fate:
                row = orjson.loads(line)
                told = {name: row.get(name) for name in _TOLD}  # an earlier version may have begun the file
                rejects.append(json_line({**told, "reason": FATES[fate]}))
            else:
                kept.append(line)
    return {reason: int((fates == place).sum()) for place, reason in enumerate(FATES) if place}
