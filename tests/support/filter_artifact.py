"""An artifact of the filter stage, without a verifier."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from distill_runtime.contract import ArtifactReference, FilterContract, FilterParameters
from distill_runtime.filtering.release import RELEASE_DIRECTORY
from distill_runtime.foundation.rows import KEPT_NAME, REJECTS_NAME, kept_row
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.resumable import json_line
from distill_runtime.storage.volume import Volume

RIGHT = "right"


@dataclass(frozen=True)
class Verified:
    """A generation that the filter has judged: right, or rejected for a reason."""

    uuid: str
    index: int
    verdict: str = RIGHT
    text: str = "So it is \\boxed{2}."
    source: str | None = None
    tokens: int | None = None
    teacher: str | None = None


def write_filter_artifact(root: Path, generations: Iterable[Verified], output: str = "filter") -> ArtifactReference:
    """Write what filter would have made of these."""
    writer = ArtifactWriter(
        Volume(root), FilterContract(output=output, input="generate", filter=FilterParameters(license="mit"))
    )
    kept = 0
    with (writer.directory / KEPT_NAME).open("wb") as rows, (writer.directory / REJECTS_NAME).open("wb") as rejects:
        for each in generations:
            known = {"source": each.source, "tokens": each.tokens, "teacher": each.teacher}
            if each.verdict == RIGHT:
                kept += 1
                row = kept_row(
                    each.uuid, each.index, f"problem {each.uuid}", "2", each.text, **known, decided_by="rules"
                )
                rows.write(json_line(row))
            else:
                reject = {"uuid": each.uuid, "generation": each.index, "reason": each.verdict, "answer": "2", **known}
                rejects.write(json_line(reject))
    release = writer.directory / RELEASE_DIRECTORY
    release.mkdir()
    (release / "README.md").write_text("---\nlicense: mit\n---\n\n# filter\n")
    return writer.finish({"kept": kept}, {})
