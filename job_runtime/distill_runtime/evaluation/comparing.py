"""One evaluation beside another, from their artifacts; what must not be subtracted is not, and the reason is said."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from distill_runtime.contract import Manifest, PublishedScore
from distill_runtime.contract.comparison import Comparison, Method
from distill_runtime.evaluation.differences import Difference, mcnemar, paired_bootstrap, unpaired
from distill_runtime.evaluation.estimates import smallest_difference
from distill_runtime.evaluation.score import RESULTS_NAME
from distill_runtime.evaluation.summary import SUMMARY_NAME, ProtocolFingerprint, Summary
from distill_runtime.foundation.errors import WrongInput

MUST_AGREE: Final = ("benchmark", "systemPrompt", "template")
"""Where these differ, other questions were asked."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation's artifact, as far as it is compared; the samples stay in the file, which may be large.

    Attributes:
        path: its results.jsonl.
        scores: the share of right answers to each problem, by its uuid.
        places: where its line begins in the file.
    """

    summary: Summary
    path: Path
    scores: Mapping[str, float]
    places: Mapping[str, int]


@dataclass(frozen=True)
class Compared:
    """A comparison, and the uuids of the problems that one side solved more often than the other."""

    comparison: Comparison
    flipped: Sequence[str] = ()


def read_evaluation(directory: Path) -> Evaluation | None:
    """Read an evaluation; None if a version without summary.json made it.

    Raises:
        WrongInput: ArtifactDamaged, if it is not what an eval stage writes.
    """
    if not (directory / SUMMARY_NAME).exists():
        return None
    try:
        summary = Summary.model_validate_json((directory / SUMMARY_NAME).read_bytes(), extra="ignore")
        scores, places, place = {}, {}, 0
        with (directory / RESULTS_NAME).open("rb") as file:
            for text in file:
                line = json.loads(text)
                scores[line["uuid"]], places[line["uuid"]] = float(line["score"]), place
                place += len(text)
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise WrongInput("ArtifactDamaged", f"{directory} is not the result of an evaluation: {error}") from error
    return Evaluation(summary, directory / RESULTS_NAME, scores, places)


def compare_evaluations(name: str, ours: Evaluation, theirs: Evaluation | None, manifest: Manifest) -> Compared:
    """Compare with another evaluation, problem by problem.

    Args:
        name: of the other one.
        manifest: of the other one.
    """
    if theirs is None:
        return _not_compared(
            name, manifest.metrics.get("score"), (), "It was made by a version that wrote no summary.json: repeat it."
        )
    differs = differing(ours.summary.fingerprint, theirs.summary.fingerprint)
    score = theirs.summary.score
    if other := [field for field in differs if field in MUST_AGREE]:
        return _not_compared(name, score, differs, f"Not the same was asked ({', '.join(other)}).")
    common = [uuid for uuid in ours.scores if uuid in theirs.scores]
    if not common:
        return _not_compared(name, score, differs, "The two have no problem in common.")
    deltas = np.array([ours.scores[uuid] - theirs.scores[uuid] for uuid in common])
    better, worse = int((deltas > 0).sum()), int((deltas < 0).sum())
    method: Method = "mcnemar"
    if ours.summary.samples_per_problem == theirs.summary.samples_per_problem == 1:
        found = mcnemar(better, worse, len(common))
    else:
        method, found = "pairedBootstrap", paired_bootstrap(deltas)
    flipped = [uuid for uuid, delta in zip(common, deltas, strict=True) if delta]
    return Compared(_comparison(name, method, score, len(common), found, differs, better, worse), flipped)


def compare_published(ours: Summary, published: PublishedScore) -> Comparison:
    """Compare with a score that somebody has published: nothing is known of its samples nor, here, of its protocol."""
    interval = (ours.interval.low / 100, ours.interval.high / 100)
    found = unpaired(ours.score / 100, interval, published.score / 100, published.problems)
    problems = min(ours.problems, published.problems)
    return _comparison(published.name, "unpaired", published.score, problems, found, (), None, None)


def differing(ours: ProtocolFingerprint, theirs: ProtocolFingerprint) -> tuple[str, ...]:
    """Name what of two fingerprints is not the same."""
    our_fields, their_fields = ours.model_dump(by_alias=True), theirs.model_dump(by_alias=True)
    return tuple(name for name, value in our_fields.items() if value != their_fields[name])


def _not_compared(name: str, score: float | None, differs: tuple[str, ...], reason: str) -> Compared:
    return Compared(Comparison(name=name, method="none", score=_points(score), differs=differs, reason=reason))


def _comparison(
    name: str,
    method: Method,
    score: float,
    problems: int,
    found: Difference,
    differs: tuple[str, ...],
    better: int | None,
    worse: int | None,
) -> Comparison:
    return Comparison(
        name=name,
        method=method,
        score=_points(score),
        problems=problems,
        difference=_points(100 * found.value),
        difference_low=_points(100 * found.low),
        difference_high=_points(100 * found.high),
        p_value=float(f"{found.p_value:.3g}"),
        smallest_difference=_points(100 * smallest_difference(found.low, found.high)),
        better=better,
        worse=worse,
        differs=differs,
    )


def _points(value: float | None) -> float | None:
    """Leave three digits: a termination message has room for few."""
    return round(value, 3) if value is not None else None


def flipped_lines(
    name: str, ours: Evaluation, theirs: Evaluation, flipped: Iterable[str]
) -> Iterator[Mapping[str, Any]]:
    """Give the problems that flipped, with the samples of both sides, one at a time."""
    with ours.path.open("rb") as our_file, theirs.path.open("rb") as their_file:
        for uuid in flipped:
            our_file.seek(ours.places[uuid])
            their_file.seek(theirs.places[uuid])
            our_line, their_line = json.loads(our_file.readline()), json.loads(their_file.readline())
            yield {
                "baseline": name,
                **{field: our_line[field] for field in ("uuid", "problem", "answer")},
                "difference": ours.scores[uuid] - theirs.scores[uuid],
                "samples": our_line["samples"],
                "baselineSamples": their_line["samples"],
            }
