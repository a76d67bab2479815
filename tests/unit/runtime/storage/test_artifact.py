import hashlib
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from distill_runtime.contract import ArtifactReference, FilterContract, FilterParameters, Owner
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.storage.artifact import ArtifactWriter, find_artifact, find_complete, open_artifact, verify_content
from distill_runtime.storage.volume import Volume

CONTRACT = FilterContract(output="runs/kept", input="runs/generated", filter=FilterParameters())


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def write(volume: Volume, contract: FilterContract = CONTRACT) -> ArtifactReference:
    writer = ArtifactWriter(volume, contract)
    (writer.directory / "deep").mkdir()
    (writer.directory / "rows.jsonl").write_text("rows")
    (writer.directory / "deep" / "more").write_bytes(b"")
    return writer.finish({"rows": 1}, {"rate": 0.5}, versions={"pydantic": "2"})


def test_a_finished_artifact_describes_every_file(volume: Volume) -> None:
    reference = write(volume)
    directory, manifest = open_artifact(volume, reference)
    assert directory == volume.root / "runs/kept"
    assert [file.path for file in manifest.files] == ["deep/more", "rows.jsonl"]
    assert manifest.files[1].sha256 == f"sha256:{hashlib.sha256(b'rows').hexdigest()}"
    assert manifest.files[1].bytes == 4
    assert (manifest.counts, manifest.metrics) == ({"rows": 1}, {"rate": 0.5})
    assert manifest.versions["pydantic"]
    assert sorted(path.name for path in directory.iterdir()) == ["deep", "manifest.json", "rows.jsonl"]
    verify_content(directory, manifest)


def test_the_digest_is_that_of_the_manifest_file(volume: Volume) -> None:
    reference = write(volume)
    content = (volume.root / "runs/kept/manifest.json").read_bytes()
    assert reference == ArtifactReference(uri="runs/kept", digest=f"sha256:{hashlib.sha256(content).hexdigest()}")


def test_nothing_is_complete_before_it_is_finished(volume: Volume) -> None:
    ArtifactWriter(volume, CONTRACT)
    assert find_complete(volume, CONTRACT) is None


def test_a_complete_artifact_is_found_again_by_whoever_asks_for_the_same(volume: Volume) -> None:
    reference = write(volume)
    again = CONTRACT.model_copy(update={"attempt": 2, "owner": Owner(kind="k", namespace="n", name="m")})
    found = find_complete(volume, again)
    assert found is not None
    assert found[0] == reference


def test_an_output_that_holds_something_else_is_not_taken_for_the_result(volume: Volume) -> None:
    write(volume)
    other = CONTRACT.model_copy(update={"filter": FilterParameters(keep="first")})
    with pytest.raises(WrongInput, match="other parameters") as error:
        find_complete(volume, other)
    assert error.value.reason == "OutputTaken"


def test_a_restarted_stage_finds_what_is_there(volume: Volume) -> None:
    (ArtifactWriter(volume, CONTRACT).directory / "rows.jsonl").write_text("half")
    directory = ArtifactWriter(volume, CONTRACT).directory
    assert (directory / "rows.jsonl").read_text() == "half"


def test_work_begun_with_other_parameters_is_not_continued(volume: Volume) -> None:
    (ArtifactWriter(volume, CONTRACT).directory / "rows.jsonl").write_text("half")
    other = CONTRACT.model_copy(update={"filter": FilterParameters(keep="first")})
    with pytest.raises(WrongInput, match=r"runs/kept\.partial was made with other parameters"):
        ArtifactWriter(volume, other)


def test_parameters_may_be_corrected_before_there_is_work(volume: Volume) -> None:
    (ArtifactWriter(volume, CONTRACT).directory / "rows.jsonl").touch()
    other = CONTRACT.model_copy(update={"filter": FilterParameters(keep="first")})
    write(volume, other)
    assert find_complete(volume, other) is not None


def test_finishing_that_was_killed_before_the_rename_can_be_repeated(volume: Volume) -> None:
    directory = ArtifactWriter(volume, CONTRACT).directory
    (directory / "manifest.json").write_text("{}")
    (directory / "manifest.json.tmp").write_text("{")
    (directory / "contract.json").unlink()
    _, manifest = open_artifact(volume, write(volume))
    assert [file.path for file in manifest.files] == ["deep/more", "rows.jsonl"]


def test_killed_while_it_hashes_it_still_has_its_work(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = begin_with_work(volume)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", interrupt)
        with pytest.raises(Terminated):
            writer.finish({}, {})
    other = CONTRACT.model_copy(update={"filter": FilterParameters(keep="first")})
    with pytest.raises(WrongInput, match="other parameters"):
        ArtifactWriter(volume, other)
    again = ArtifactWriter(volume, CONTRACT)
    assert (again.work / "checkpoint.json").read_text() == "{}"
    _, manifest = open_artifact(volume, again.finish({}, {}))
    assert [file.path for file in manifest.files] == ["rows.jsonl"]
    assert not again.work.exists()


def test_work_is_not_continued_when_the_partial_artifact_was_removed(volume: Volume) -> None:
    writer = begin_with_work(volume)
    shutil.rmtree(writer.directory)
    assert not ArtifactWriter(volume, CONTRACT).work.exists()


def test_work_counts_as_begun(volume: Volume) -> None:
    writer = begin_with_work(volume)
    (writer.directory / "rows.jsonl").unlink()
    with pytest.raises(WrongInput, match="other parameters"):
        ArtifactWriter(volume, CONTRACT.model_copy(update={"filter": FilterParameters(keep="first")}))


def begin_with_work(volume: Volume) -> ArtifactWriter:
    writer = ArtifactWriter(volume, CONTRACT)
    (writer.directory / "rows.jsonl").write_text("rows")
    writer.work.mkdir()
    (writer.work / "checkpoint.json").write_text("{}")
    return writer


def interrupt(*_arguments: object) -> NoReturn:
    raise Terminated


def test_a_file_called_manifest_deeper_down_is_a_file_like_any_other(volume: Volume) -> None:
    writer = ArtifactWriter(volume, CONTRACT)
    (writer.directory / "model").mkdir()
    (writer.directory / "model" / "manifest.json").write_text("{}")
    _, manifest = open_artifact(volume, writer.finish({}, {}))
    assert [file.path for file in manifest.files] == ["model/manifest.json"]


def test_a_missing_artifact_is_said(volume: Volume) -> None:
    reference = write(volume)
    with pytest.raises(WrongInput, match=r"no runs/other on the volume") as error:
        open_artifact(volume, reference.model_copy(update={"uri": "runs/other"}))
    assert error.value.reason == "ArtifactMissing"
    assert find_artifact(volume, "runs/other") is None


def test_another_artifact_than_planned_is_refused(volume: Volume) -> None:
    reference = write(volume)
    planned = reference.model_copy(update={"digest": "sha256:" + 64 * "0"})
    with pytest.raises(WrongInput, match=f"expected digest {planned.digest}, found {reference.digest}"):
        open_artifact(volume, planned)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "runs/kept/rows.jsonl is missing"),
        (lambda path: path.write_text("longer"), "runs/kept/rows.jsonl has 6 bytes, 4 were written"),
    ],
)
def test_damage_is_noticed_without_reading(volume: Volume, damage, problem: str) -> None:
    reference = write(volume)
    damage(volume.root / "runs/kept/rows.jsonl")
    with pytest.raises(WrongInput, match=problem) as error:
        open_artifact(volume, reference)
    assert error.value.reason == "ArtifactDamaged"


def test_changed_bytes_are_noticed_by_reading(volume: Volume) -> None:
    directory, manifest = open_artifact(volume, write(volume))
    (directory / "rows.jsonl").write_text("ROWS")
    with pytest.raises(WrongInput, match=r"rows\.jsonl has sha256:") as error:
        verify_content(directory, manifest)
    assert error.value.reason == "ArtifactDamaged"


def test_a_directory_that_no_stage_wrote_is_no_artifact(volume: Volume) -> None:
    (volume.root / "runs/kept").mkdir(parents=True)
    with pytest.raises(WrongInput, match=r"no valid manifest\.json") as error:
        find_complete(volume, CONTRACT)
    assert error.value.reason == "NotAnArtifact"
