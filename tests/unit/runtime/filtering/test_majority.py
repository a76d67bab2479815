"""The verifier majority: which answer of a prompt is elected, who has a voice, and what becomes of the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.generate_artifacts import Generation, write_generate_artifacts

from distill_runtime.contract import FilterContract
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import filter as filter_stage
from distill_runtime.storage.volume import Volume

HALF, SAME_HALF, THIRD = r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", r"\boxed{1/3}"
Fates = dict[tuple[str, int], str]


def fates(directory: Path, **contract: Any) -> tuple[Fates, dict[str, int]]:
    """What became of each generation: the answer that it was kept with, or the reason."""
    context = StageContext(Volume(directory), Reporter("filter", "generations"))
    values = {"output": "out", "input": "generate", **contract, "filter": {"verifier": "majority"}}
    result = filter_stage.run(FilterContract.model_validate(values), context)
    kept, rejects = (
        [json.loads(line) for line in (directory / "out" / name).read_text().splitlines()]
        for name in ("kept.jsonl", "rejects.jsonl")
    )
    found = {(row["uuid"], row["generation"]): row["answer"] for row in kept}
    return found | {(row["uuid"], row["generation"]): row["reason"] for row in rejects}, result.counts


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        # Values count, and how they are written does not; who agrees with the elected one is kept.
        ([HALF, SAME_HALF, THIRD], [r"\frac{1}{2}"] * 2 + ["incorrect"]),
        ([THIRD, HALF, THIRD + " "], ["1/3", "incorrect", "1/3"]),
        ([r"\boxed{x+1}", r"\boxed{x + 1}", r"\boxed{1+x}"], ["x+1"] * 3),
        (["no box", HALF, HALF + "."], ["noAnswer", r"\frac{1}{2}", r"\frac{1}{2}"]),
        # Nobody is elected by a tie, or by one voice.
        ([HALF, THIRD, HALF + ".", THIRD + "."], ["noMajority"] * 4),
        ([HALF, THIRD], ["noMajority"] * 2),
        ([HALF, "no box"], ["noMajority"] * 2),
    ],
)
def test_the_most_frequent_answer_is_right(tmp_path: Path, contents: list[str], expected: list[str]) -> None:
    agreed = [Generation("agreed", number, "", HALF + " " * number + "!") for number in range(2)]
    asked = [Generation("p", number, "wrong", content) for number, content in enumerate(contents)]
    write_generate_artifacts(tmp_path, [[*asked[::2], agreed[0]], [*asked[1::2], agreed[1]]])
    found, counts = fates(tmp_path, shards=2)
    assert [found["p", number] for number in range(len(contents))] == expected
    assert counts["generations"] == counts["kept"] + sum(n for name, n in counts.items() if name.startswith("rejected"))


def test_what_cannot_be_kept_has_no_voice(tmp_path: Path) -> None:
    generations = [
        Generation("p", 0, "", HALF),
        Generation("p", 1, "", HALF + "."),
        *(Generation("p", number, "", THIRD, finish_reason="length") for number in (2, 3, 4)),
        Generation("p", 5, "", failure="badRequest"),
    ]
    write_generate_artifacts(tmp_path, [generations])
    found, _ = fates(tmp_path)
    assert list(found.values()) == [r"\frac{1}{2}"] * 2 + ["truncated"] * 3 + ["failed"]


def test_rows_without_reference_answers(tmp_path: Path) -> None:
    rows = [{"problem": "p", "generations": [HALF, THIRD, SAME_HALF]}, {"problem": "", "generations": [HALF, HALF]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = fates(tmp_path, input={"uri": "rows.jsonl", "referenceAnswers": "none"})
    assert list(found.values()) == [r"\frac{1}{2}", r"\frac{1}{2}", "incorrect", "promptMissing", "promptMissing"]
