"""A benchmark by its name becomes one by its contents: what the contract has is all that there is to it."""

from pydantic import ValidationError

from distill_operator.api.evaluation import EvalBenchmark, EvalProtocol
from distill_operator.api.judge import JUDGE_KEY_REFERENCE
from distill_operator.plan.stages import Invalid
from distill_runtime.contract import Benchmark, Protocol
from distill_runtime.contract.benchmarks import KnownBenchmark, known_benchmarks

_PROBLEM = ("prompt_column", "problem_template", "messages_column")
"""Each says what the problem is: where one is given, none of the others is taken over."""
_JUDGING = ("verifier", "answer_pattern", "entry_point", "tolerance")


def resolve_benchmark(asked: EvalBenchmark, protocol: EvalProtocol) -> tuple[Benchmark, Protocol] | Invalid:
    """Give the benchmark and the protocol with what the name stands for, where the object says nothing else.

    With a uri the name is a name only, so that a benchmark of one's own is what it was when this one got to be known.
    """
    given = asked.model_dump(include=asked.model_fields_set)
    said = protocol.model_dump(include=protocol.model_fields_set, exclude=JUDGE_KEY_REFERENCE)
    if asked.uri:
        return Benchmark.model_validate(given), Protocol.model_validate(said)
    known = known_benchmarks().get(asked.name)
    if known is None:
        return Invalid(
            "InvalidSpec",
            f"benchmark.name {asked.name!r} is not among those that are known, {', '.join(known_benchmarks())}: "
            "set benchmark.uri, or create the object again with one of these.",
        )
    try:
        return Benchmark.model_validate(_table(known, given)), Protocol.model_validate(_protocol(known, protocol, said))
    except ValidationError as error:
        why = "; ".join(str(each["msg"]) for each in error.errors())
        return Invalid("InvalidSpec", f"benchmark.name {asked.name!r} does not go with what else is set: {why}.")


def _table(known: KnownBenchmark, given: dict[str, object]) -> dict[str, object]:
    table = known.table.model_dump(include=known.table.model_fields_set)
    if any(given.get(name) for name in _PROBLEM):
        table = {name: value for name, value in table.items() if name not in _PROBLEM}
    return table | given


def _protocol(known: KnownBenchmark, protocol: EvalProtocol, said: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    if not any(said.get(name) for name in _JUDGING):
        found["verifier"] = known.verifier
    if protocol.temperature > 0:  # greedy answers are all the same
        found["samples_per_problem"] = known.samples_per_problem
    return found | said
