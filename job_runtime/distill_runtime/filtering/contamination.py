"""Which prompts are taken from a benchmark: those that share a run of words with one of its problems."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from distill_runtime.contract import Decontamination
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.ngrams import ngrams, words_of
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import open_table
from distill_runtime.storage.volume import Volume

CONTAMINATED = "contaminated"


@dataclass(frozen=True)
class Contamination:
    """The n-grams of all benchmarks.

    Attributes:
        ngram: words of one.
        benchmark_of: for the hash of each n-gram the uri of the benchmark that has it. A problem with fewer words is
            one n-gram as a whole, and so is a prompt.
    """

    ngram: int
    benchmark_of: dict[int, str]

    def find(self, prompt: str) -> str | None:
        """Give the benchmark that a prompt is taken from, if it is from one."""
        for fingerprint in ngrams(words_of(prompt), self.ngram):
            benchmark = self.benchmark_of.get(fingerprint)
            if benchmark is not None:
                return benchmark
        return None


def read_benchmarks(parameters: Decontamination, volume: Volume) -> Contamination:
    """Read the problems of all benchmarks.

    Raises:
        WrongInput: as `sources.table.open_table`, or EmptySource for a benchmark without a single problem.
    """
    benchmark_of: dict[int, str] = {}
    for benchmark in parameters.benchmarks:
        selection = Selection(benchmark.subset, benchmark.split)
        table = open_table(benchmark.uri, volume, {"promptColumn": benchmark.prompt_column}, selection)
        problems = (row.get(benchmark.prompt_column) for row in table.rows())
        found = set(_all_fingerprints((text for text in problems if isinstance(text, str)), parameters.ngram))
        if not found:
            raise WrongInput(
                "EmptySource", f"no row of {benchmark.uri} has words in column {benchmark.prompt_column!r}"
            )
        for fingerprint in found:
            benchmark_of.setdefault(fingerprint, benchmark.uri)
    return Contamination(parameters.ngram, benchmark_of)


def _all_fingerprints(texts: Iterable[str], ngram: int) -> Iterator[int]:
    for text in texts:
        yield from ngrams(words_of(text), ngram)
