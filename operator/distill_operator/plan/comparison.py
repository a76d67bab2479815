"""The stage compare of an EvalRun: its score beside others, and held against its gate."""

from distill_operator.api import EvalRun, StageStatus
from distill_operator.observation import Dependencies, ResourceKey
from distill_operator.plan.dependencies import stage_artifact
from distill_operator.plan.stages import UNPLACED, Invalid, Outline, Stage, Waiting, owner_of, placed
from distill_runtime.contract import ArtifactReference, CompareContract, Gate, PublishedScore
from distill_runtime.contract.stages import Baseline

_EVALUATION = "eval"


def baseline_keys(run: EvalRun) -> tuple[ResourceKey, ...]:
    """Give the evaluations that the run is compared with, those of its gate included, each once."""
    gate = run.spec.gate
    references = [
        *(baseline.eval_ref for baseline in run.spec.compare_with if baseline.eval_ref is not None),
        *(limit.eval_ref for limit in (gate.no_worse_than if gate is not None else ())),
    ]
    names = dict.fromkeys(reference.name for reference in references)
    return tuple(ResourceKey("EvalRun", run.metadata.namespace, name) for name in names)


def plan_comparison(
    run: EvalRun, outline: Outline, evaluation: StageStatus, known: Dependencies
) -> Stage | Waiting | Invalid:
    """Give the stage, or why it cannot be planned.

    Only it waits for the other evaluations: the questions are asked meanwhile.
    """
    artifact = evaluation.artifact
    if artifact is None:
        return Invalid("InvalidSpec", "Stage eval has no artifact in the status; create the object again.")
    baselines = []
    for key in baseline_keys(run):
        if key.name == run.metadata.name:
            return Invalid("InvalidSpec", "An EvalRun cannot be compared with itself; create it again without that.")
        found = stage_artifact(run, key, known, EvalRun, _EVALUATION)
        if isinstance(found, Waiting | Invalid):
            return found
        baselines.append(Baseline(name=key.name, artifact=found))
    contract = CompareContract(
        owner=owner_of(run),
        output=UNPLACED,
        evaluation=ArtifactReference(uri=artifact.uri, digest=artifact.digest),
        baselines=tuple(baselines),
        published=_published(run),
        gate=_gate(run),
    )
    return Stage(outline=outline, run=run.spec, command="compare", contract=placed(contract, run, outline.name))


def _published(run: EvalRun) -> tuple[PublishedScore, ...]:
    return tuple(
        PublishedScore(name=each.name, score=each.score, problems=each.problems)
        for each in run.spec.compare_with
        if each.name is not None and each.score is not None and each.problems is not None
    )


def _gate(run: EvalRun) -> Gate | None:
    gate = run.spec.gate
    if gate is None:
        return None
    limits = [{"name": limit.eval_ref.name, "margin": limit.margin} for limit in gate.no_worse_than]
    return Gate.model_validate(
        {"min_score": gate.min_score, "max_truncated_rate": gate.max_truncated_rate, "no_worse_than": limits}
    )
