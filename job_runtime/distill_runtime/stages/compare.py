"""Compare: hold an evaluation against others, and against its gate.

    summary.json    the evaluation's, with the comparisons and the gate's verdict
    report.html     the evaluation's, with the baselines and answers of both sides; report.md, for a model card
    flipped.jsonl   a line a baseline and problem that one of the two solved more often, with the samples of both

It is a stage of its own since it takes seconds, and the answers that it reads hours: another baseline or another gate
asks nobody anything again. A gate that does not hold is a result like any other; the operator says what it means.
"""

import json
from typing import Final

from distill_runtime.contract import ArtifactReference, CompareContract, InputFingerprint, Manifest, Result
from distill_runtime.contract.comparison import Comparison, Judgement
from distill_runtime.contract.stages import Baseline
from distill_runtime.evaluation.comparing import (
    Compared,
    Evaluation,
    compare_evaluations,
    compare_published,
    flipped_lines,
    read_evaluation,
)
from distill_runtime.evaluation.differences import describe_p
from distill_runtime.evaluation.evaluated import model_of
from distill_runtime.evaluation.flips import show_flips
from distill_runtime.evaluation.gate import judge
from distill_runtime.evaluation.summarising import describe
from distill_runtime.evaluation.summary import FLIPPED_NAME, SUMMARY_NAME, Summary
from distill_runtime.evaluation.summary_report import published_score, report_of, score_of, write_report
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact
from distill_runtime.storage.fingerprints import fingerprint_artifact

_SIGNIFICANT: Final = 0.05


def fingerprints(contract: CompareContract, _context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell which evaluations are compared."""
    baselines = (fingerprint_artifact(f"baseline {each.name}", each.artifact) for each in contract.baselines)
    return fingerprint_artifact("evaluation", contract.evaluation), *baselines


def check(contract: CompareContract, context: StageContext) -> None:
    """Read the evaluations.

    Raises:
        WrongInput: where `run` would.
    """
    _read_own(contract, context)
    for baseline in contract.baselines:
        _read(baseline.artifact, context)


def run(contract: CompareContract, context: StageContext) -> Result:
    """Compare with each baseline, and judge by the gate.

    Raises:
        WrongInput: as `open_artifact` and `read_evaluation`; NoSummary.
    """
    ours, manifest = _read_own(contract, context)
    context.reporter.update(done=0, total=len(contract.baselines) + len(contract.published), unit="comparisons")
    compared = [_compare(each, ours, context) for each in contract.baselines]
    baselines = [(found.comparison.name, theirs, found.flipped) for theirs, found in compared if theirs is not None]
    published = [compare_published(ours.summary, each) for each in contract.published]
    comparisons = (*(found.comparison for _, found in compared), *published)
    context.reporter.update(done=len(comparisons))
    gate = judge(contract.gate, ours.summary, comparisons) if contract.gate is not None else None
    summary = ours.summary.model_copy(update={"comparisons": comparisons, "gate": gate})
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    (writer.directory / SUMMARY_NAME).write_text(summary.model_dump_json(by_alias=True, indent=2), encoding="utf-8")
    with (writer.directory / FLIPPED_NAME).open("w", encoding="utf-8") as file:
        for name, theirs, flipped in baselines:
            lines = flipped_lines(name, ours, theirs, flipped)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    counts = {"comparisons": len(comparisons), "flipped": sum(len(found.flipped) for _, found in compared)}
    judgement = Judgement(comparisons=comparisons, gate=gate)
    message = _describe(summary, judgement)
    context.reporter.update(message="writing the report")
    scores = [score_of(name, theirs.summary) for name, theirs, _ in baselines]
    scores += [published_score(each.name, each.score, each.problems) for each in contract.published]
    flips = [show_flips(name, ours, theirs, flipped) for name, theirs, flipped in baselines]
    target = manifest.parameters.get("target")
    model = model_of(target) if isinstance(target, dict) else contract.evaluation.uri
    write_report(report_of(model, summary, message, scores, (), (), flips), writer.directory)
    inputs = (contract.evaluation, *(each.artifact for each in contract.baselines))
    artifact = writer.finish(counts, {}, inputs, judgement=judgement)
    return Result(
        outcome="Succeeded",
        reason="Compared",
        message=message,
        artifact=artifact,
        counts=counts,
        judgement=judgement,
    )


def _compare(baseline: Baseline, ours: Evaluation, context: StageContext) -> tuple[Evaluation | None, Compared]:
    theirs, manifest = _read(baseline.artifact, context)
    return theirs, compare_evaluations(baseline.name, ours, theirs, manifest)


def _read(reference: ArtifactReference, context: StageContext) -> tuple[Evaluation | None, Manifest]:
    directory, manifest = open_artifact(context.volume, reference)
    return read_evaluation(directory), manifest


def _read_own(contract: CompareContract, context: StageContext) -> tuple[Evaluation, Manifest]:
    ours, manifest = _read(contract.evaluation, context)
    if ours is None:
        raise WrongInput(
            "NoSummary",
            f"{contract.evaluation.uri} was made by a version that wrote no summary.json; remove it and evaluate again",
        )
    return ours, manifest


def _describe(summary: Summary, judgement: Judgement) -> str:
    parts = [describe(summary), *(_said(each) for each in judgement.comparisons)]
    if judgement.gate is not None:
        parts.append("the gate holds" if judgement.gate.held else "the gate does not hold")
    return "; ".join(parts)


def _said(found: Comparison) -> str:
    if found.difference is None:
        return f"not compared with {found.name}: {found.reason}".rstrip(".")
    assert found.p_value is not None  # where there is a difference
    text = (
        f"{found.difference:+.1f} points to {found.name} (95 % interval {found.difference_low:+.1f} to "
        f"{found.difference_high:+.1f}, p: {describe_p(found.p_value)}"
        f"{', unpaired' if found.method == 'unpaired' else ''})"
    )
    if found.p_value > _SIGNIFICANT:
        text += f", which shows no difference; one of {found.smallest_difference:.1f} points would have shown"
    return text
