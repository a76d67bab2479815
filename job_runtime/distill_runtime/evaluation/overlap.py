"""Which problems of a benchmark share a run of words with what a model was trained on, and the score without them.

A run of 8 words is what s1 (arXiv 2501.19393) and open-r1 remove training data by, one of 32 what Light-R1 does (arXiv
2503.10460, which does not say of what). They split at spaces; here words are those of `foundation.ngrams`, so that
punctuation hides nothing, and what is shorter than a run is compared as a whole. Eight words are found in phrases that
many problems have as well: the shared words are written down, to be looked at.

Only prompts are held against the problems, as these peers do: answers are a hundred times longer. The benchmark is in
memory, a run at a time, and the rows are read one by one; so memory grows with the benchmark only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distill_runtime.contract import ArtifactReference
from distill_runtime.evaluation.interval import clustered_interval
from distill_runtime.evaluation.score import ProblemResult
from distill_runtime.evaluation.summary import Interval, Overlap, OverlapOf
from distill_runtime.evaluation.training_data import training_rows
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.ngrams import ngrams, words_of
from distill_runtime.storage.resumable import GrowingFile, json_line
from distill_runtime.storage.volume import Volume

OVERLAP_NAME: Final = "overlap.jsonl"
SIZES: Final = (8, 32)
"""Words of a run, the fewest first: that is what the status speaks of."""
_LONGEST_PROMPT: Final = 4_000
"""Characters of a training prompt that are written down."""


@dataclass(frozen=True)
class Shared:
    """What a problem has in common with a training prompt, the first that was found.

    Attributes:
        words: of both, in a row.
        uuid, prompt: of the row.
    """

    words: str
    uuid: str
    prompt: str


class _Runs:
    """The runs of so many words of all problems, by their hashes."""

    def __init__(self, size: int, problems: Iterable[str]) -> None:
        self.size = size
        self._first: dict[int, int] = {}
        self._others: dict[int, list[int]] = {}
        for place, problem in enumerate(problems):
            for run in set(ngrams(words_of(problem), size)):
                if self._first.setdefault(run, place) != place:
                    self._others.setdefault(run, []).append(place)

    def shared_by(self, words: list[str]) -> Iterator[tuple[int, int]]:
        """Give the place of each problem that has a run of these words, and where in them that begins."""
        for start, run in enumerate(ngrams(words, self.size)):
            place = self._first.get(run)
            if place is not None:
                yield place, start
                for other in self._others.get(run, ()):
                    yield other, start


def measure_overlap(
    weights: ArtifactReference | None,
    results: Sequence[ProblemResult],
    samples_per_problem: int,
    volume: Volume,
    directory: Path,
) -> tuple[Overlap, ArtifactReference | None]:
    """Hold the problems against what the weights were trained on, and write down what they share, a line a problem.

    Whatever is wrong with the training data, the score is there and stays: it is said.

    Args:
        directory: to write into.

    Returns:
        What was found, and the artifact that was read.
    """
    (directory / OVERLAP_NAME).unlink(missing_ok=True)  # of a Pod that was killed, whose data may be gone since
    rows = training_rows(weights, volume)
    if isinstance(rows, str):
        return Overlap(unknown=rows), None
    try:
        number, found = find_shared([result.problem for result in results], rows.prompts())
    except WrongInput as damaged:
        return Overlap(unknown=damaged.message), None
    _write(results, found, directory / OVERLAP_NAME)
    parts = tuple(_overlap_of(size, results, found[size].keys(), samples_per_problem) for size in SIZES)
    overlap = Overlap(training_data=rows.reference.uri, digest=rows.reference.digest, rows=number, by_words=parts)
    return overlap, rows.reference


def find_shared(
    problems: Sequence[str], prompts: Iterable[tuple[str, str]]
) -> tuple[int, dict[int, dict[int, Shared]]]:
    """Find what problems share with training prompts.

    Args:
        prompts: each with its row's uuid.

    Returns:
        The number of prompts; and for each of `SIZES`, by a problem's place, what it shares.
    """
    indexes = [_Runs(size, problems) for size in SIZES]
    found: dict[int, dict[int, Shared]] = {size: {} for size in SIZES}
    number = 0
    for number, (uuid, prompt) in enumerate(prompts, start=1):  # noqa: B007 - used after the loop
        words = words_of(prompt)
        for index in indexes:
            shared = found[index.size]
            for place, start in index.shared_by(words):
                if place not in shared:
                    text = " ".join(words[start : start + index.size])
                    shared[place] = Shared(text, uuid, prompt[:_LONGEST_PROMPT])
    return number, found


def _write(results: Sequence[ProblemResult], found: dict[int, dict[int, Shared]], path: Path) -> None:
    with GrowingFile(path, 0) as file:
        for place, result in enumerate(results):
            sizes = [size for size in SIZES if place in found[size]]
            if sizes:
                shared = found[sizes[-1]][place]
                row = {"uuid": result.uuid, "problem": result.problem, "score": result.score, "words": sizes[-1]}
                file.append(json_line({**row, "shared": shared.words, "row": shared.uuid, "prompt": shared.prompt}))


def _overlap_of(
    size: int, results: Sequence[ProblemResult], places: Iterable[int], samples_per_problem: int
) -> OverlapOf:
    overlapping = set(places)
    shares = [result.score for place, result in enumerate(results) if place not in overlapping]
    clean: tuple[float | None, Interval | None] = (None, None)
    if shares:
        low, high = clustered_interval(shares, samples_per_problem)
        method = "wilson" if samples_per_problem == 1 else "effectiveSampleSize"
        clean = 100 * sum(shares) / len(shares), Interval(low=100 * low, high=100 * high, method=method)
    return OverlapOf(
        words=size,
        problems=len(overlapping),
        rate=100 * len(overlapping) / len(results),
        clean_problems=len(shares),
        clean_score=clean[0],
        clean_interval=clean[1],
    )


def describe_overlap(overlap: Overlap) -> str:
    """Say what was found, or why nothing could be."""
    if overlap.unknown is not None:
        return f"whether problems are in the training data is not known: {overlap.unknown}"
    fewest = overlap.by_words[0]
    counts = ", ".join(f"{each.problems} ({each.rate:.1f} %) share {each.words} words" for each in overlap.by_words)
    text = f"of the problems {counts} in a row with a training prompt"
    if fewest.problems and fewest.clean_score is not None and fewest.clean_interval is not None:
        text += (
            f"; without the first the score is {fewest.clean_score:.1f} % (95 % interval "
            f"{fewest.clean_interval.low:.1f} to {fewest.clean_interval.high:.1f}, {fewest.clean_problems} problems)"
        )
    return text
