"""The select stage: choose among the right answers those that are trained on.

A pure function of the filter's artifact, and of the verdicts on a probe's answers where there is one, so that another
selection verifies nothing anew. The artifact has the form of the filter's:

* `kept.jsonl`: the rows that are selected (see `rows.kept_row`).
* `rejects.jsonl`: the others, each with the reason.
* `dataset/`: the selected rows as parquet, with a card, for others.
* `report.html`, `report.json`: the same for people (see `selecting.summary`).

What is known of the rows is in `<output>.work` until the artifact is complete. A stage that starts again begins anew:
it reads, and compares numbers.

The counts close: rows = kept + every `rejected.…`. `prompts` says of how many prompts rows are kept.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import orjson

from distill_runtime.contract import ArtifactReference, InputFingerprint, Result, SelectContract
from distill_runtime.filtering.release import RELEASE_DIRECTORY, write_release
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME
from distill_runtime.process.stage import StageContext
from distill_runtime.selecting.candidates import read_candidates
from distill_runtime.selecting.choice import FATES, Choice, choose
from distill_runtime.selecting.summary import summarise
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, versions_of
from distill_runtime.storage.fingerprints import fingerprint_artifact
from distill_runtime.storage.inputs import discard_if_changed
from distill_runtime.storage.resumable import GrowingFile, json_line, read_lines

_TOLD = ("uuid", "generation", "answer", "source", "teacher", "tokens")
"""What of a row a reject has."""


def fingerprints(contract: SelectContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the rows are, and the probe's verdicts."""
    probe = (fingerprint_artifact("probe", contract.probe),) if contract.probe is not None else ()
    return (fingerprint_artifact("kept", contract.input), *probe)


def check(contract: SelectContract, context: StageContext) -> None:
    """Check that the filter's artifact is the one that was planned with, and so is the probe's.

    Raises:
        WrongInput: as `open_artifact`.
    """
    open_artifact(context.volume, contract.input)
    _open_probe(contract, context)


def run(contract: SelectContract, context: StageContext) -> Result:
    """Choose, write, finish.

    Raises:
        WrongInput: as `check` and `read_candidates`, or NothingSelected.
    """
    discard_if_changed(context.volume, contract, context.fingerprints)
    filtered, manifest = open_artifact(context.volume, contract.input)
    probe = _open_probe(contract, context)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    writer.work.mkdir(exist_ok=True)
    rows = manifest.counts["kept"]
    context.reporter.update(total=rows, message="reading the rows")

    def report(done: int) -> None:
        context.reporter.update(done=done)

    known = read_candidates(filtered, probe, writer.work, contract.select, report)
    if len(known.candidates) != rows:
        raise RuntimeError(f"{len(known.candidates)} rows were read, the filter's artifact counts {rows}")
    context.reporter.update(done=rows, message="selecting")
    choice = choose(known, contract.select)
    rejected = {reason: int((choice.fates == fate).sum()) for fate, reason in enumerate(FATES) if fate}
    counts = {
        "rows": rows,
        "kept": rows - sum(rejected.values()),
        "prompts": choice.prompts,
        **{f"rejected.{reason}": number for reason, number in sorted(rejected.items()) if number},
    }
    if not counts["kept"]:
        raise _nothing_selected(rows, rejected, contract)
    _write_rows(filtered, writer.directory, choice)
    summarise(contract.subject, counts, known, choice, writer.directory).write(writer.directory)
    card = _extend_card((filtered / RELEASE_DIRECTORY / "README.md").read_text(encoding="utf-8"), counts, contract)
    write_release(writer.directory / KEPT_NAME, writer.directory / RELEASE_DIRECTORY, card)
    context.reporter.update(message="making the artifact complete", counts=counts)
    return Result(
        outcome="Succeeded",
        reason="Selected",
        message=f"{counts['kept']} of {rows} right answers are selected, to {choice.prompts} prompts",
        artifact=writer.finish(counts, {}, _inputs(contract), versions_of(("numpy",))),
        counts=counts,
    )


def _open_probe(contract: SelectContract, context: StageContext) -> Path | None:
    return None if contract.probe is None else open_artifact(context.volume, contract.probe)[0]


def _inputs(contract: SelectContract) -> tuple[ArtifactReference, ...]:
    return (contract.input, *((contract.probe,) if contract.probe is not None else ()))


def _write_rows(filtered: Path, directory: Path, choice: Choice) -> None:
    with GrowingFile(directory / KEPT_NAME, 0) as kept, GrowingFile(directory / REJECTS_NAME, 0) as rejects:
        for (line, _), fate in zip(read_lines(filtered / KEPT_NAME), choice.fates, strict=True):
            if fate:
                row = orjson.loads(line)
                rejects.append(json_line({**{name: row.get(name) for name in _TOLD}, "reason": FATES[fate]}))
            else:
                kept.append(line)


def _nothing_selected(rows: int, rejected: Mapping[str, int], contract: SelectContract) -> WrongInput:
    reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.items() if number)
    unknown = (
        " Tokens are unknown where the teacher's server counts none, or an earlier version filtered the answers: "
        f"give select.length the unit characters, or remove {contract.input.uri} from the claim."
        if rejected["lengthUnknown"]
        else ""
    )
    return WrongInput(
        "NothingSelected",
        f"none of the {rows} right answers is selected: {reasons}.{unknown} Create the object again with wider bounds "
        "in select; what was generated and filtered is taken over.",
    )


def _extend_card(card: str, counts: Mapping[str, int], contract: SelectContract) -> str:
    """Say below what the filter says of all right answers which of them these are."""
    figures = "\n".join(f"| {name} | {number:,} |" for name, number in counts.items())
    parameters = json.dumps(contract.select.to_json(), indent=2)
    return f"""{card.rstrip()}

## Selection

These rows are chosen from those that the filter kept:

| Rows | |
|---|---|
{figures}

Select:

```json
{parameters}
```
"""
