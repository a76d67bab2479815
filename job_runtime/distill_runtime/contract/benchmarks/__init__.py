"""Benchmarks that have a name: where each is, what its problem is made of, and how it is usually asked.

A new one is a file. Revisions are pinned, so that a score is of the same problems whenever it is made. The operator
writes what a file says into the contract: a later version's file changes no evaluation that has begun.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from pydantic import Field

from distill_runtime.contract.base import Model
from distill_runtime.contract.parameters import ProblemColumns, Uri
from distill_runtime.contract.parameters.verification import ComparingVerifier

_SUFFIX = ".toml"


class ProblemTable(ProblemColumns):
    """Where the problems are, and which columns they are made of."""

    uri: Uri


class KnownBenchmark(Model):
    """What a file says."""

    table: ProblemTable
    verifier: ComparingVerifier = Field(description="How its answers are compared.")
    samples_per_problem: int = Field(ge=1, le=256, description="The more, the fewer problems it has.")


@cache
def known_benchmarks() -> Mapping[str, KnownBenchmark]:
    """Give all of them by their names, in the order of these."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(_SUFFIX): KnownBenchmark.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        for file in files
        if file.name.endswith(_SUFFIX)
    }
