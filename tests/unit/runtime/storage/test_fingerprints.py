import hashlib
import os
from pathlib import Path

import pytest

from distill_runtime.contract import FilterContract, FilterParameters, InputFingerprint
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage import fingerprints
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact
from distill_runtime.storage.fingerprints import changes, fingerprint_directory, fingerprint_files, short_hash
from distill_runtime.storage.inputs import discard_if_changed, placed_by_inputs, refuse_changes
from distill_runtime.storage.volume import Volume

CONTRACT = FilterContract(output="runs/kept", input="runs/generated", filter=FilterParameters())


def rows(value: str) -> InputFingerprint:
    return InputFingerprint(name="rows", uri="rows.jsonl", value=value)


def of(*paths: Path) -> str:
    return fingerprint_files({path.name: path for path in paths})


def test_a_small_file_is_told_by_its_sha256_whenever_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    assert of(file) == f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    before = of(file)
    os.utime(file, (1, 1))
    assert of(file) == before
    file.write_text("two")  # of the same size
    assert of(file) != before


def test_a_large_file_is_told_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_HASHED_BYTES", 10)
    large, small = tmp_path / "weights", tmp_path / "config"
    large.write_bytes(b"w" * 8)
    os.utime(large, ns=(0, 1_000_000_007))
    assert of(large) == f"sha256:{hashlib.sha256(b'w' * 8).hexdigest()}"
    small.write_bytes(b"c" * 3)  # read first, so that the larger one is one too many
    before = of(large, small)
    large.write_bytes(b"x" * 8)
    os.utime(large, ns=(0, 1_000_000_007))
    assert of(large, small) == before
    os.utime(large, ns=(0, 1_000_000_008))
    assert of(large, small) != before
    large.write_bytes(b"w" * 11)
    os.utime(large, ns=(0, 1_000_000_007))
    assert of(large) == "11 bytes, changed 1970-01-01T00:00:01.000000007Z"


def test_a_file_more_or_less_or_under_another_name_is_another_content(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("a", "b", "c"))
    for path in (one, two, three):
        path.write_text("the same")
    values = {of(one, two), of(one, three), of(one, two, three), of(one)}
    assert len(values) == 4


def test_a_link_is_told_by_what_it_leads_to(tmp_path: Path) -> None:
    for name in ("first", "second", "copy-of-first"):
        (tmp_path / name).write_text(name.removeprefix("copy-of-"))
    link = tmp_path / "link"

    def through(name: str) -> str:
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        return of(link)

    assert through("first") == through("copy-of-first") != through("second")


def test_an_artifact_is_told_by_its_digest_and_must_be_whole(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    writer = ArtifactWriter(volume, CONTRACT)
    (writer.directory / "rows").write_text("rows")
    reference = writer.finish({}, {})
    assert fingerprint_directory("model", "runs/kept", volume, ("*.json",)).value == reference.digest
    (tmp_path / "runs/kept/rows").write_text("others")
    with pytest.raises(WrongInput, match="has 6 bytes, 4 were written"):
        fingerprint_directory("model", "runs/kept", volume, ("*.json",))


def test_of_other_directories_only_what_matters_counts(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")  # of somebody else
    before = fingerprint_directory("model", "model", volume, ("*.json",))
    (tmp_path / "model" / "README.md").write_text("better")
    assert fingerprint_directory("model", "model", volume, ("*.json",)) == before
    (tmp_path / "model" / "config.json").write_text("{}")
    assert fingerprint_directory("model", "model", volume, ("*.json",)) != before
    assert fingerprint_directory("model", "absent", volume, ("*.json",)).value == "nothing"


def test_an_input_of_which_nothing_is_recorded_has_not_changed() -> None:
    other = InputFingerprint(name="benchmark", uri="rows.jsonl", value="b")
    assert changes([], [rows("a")]) == changes([other], [rows("a")]) == changes([rows("a")], []) == []
    (change,) = changes([other, rows("a")], [rows("b")])
    assert str(change) == "rows rows.jsonl was a, and is b now"


def complete(volume: Volume, *inputs: InputFingerprint) -> None:
    contract = placed_by_inputs(volume, CONTRACT, inputs)
    ArtifactWriter(volume, contract, inputs).finish({}, {})


def test_the_manifest_says_what_the_inputs_were(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    reference = ArtifactWriter(volume, CONTRACT, [rows("a")]).finish({}, {}, noted=[rows("noted")])
    directory, manifest = open_artifact(volume, reference)
    assert manifest.fingerprints == (rows("a"), rows("noted"))
    assert [path.name for path in directory.iterdir()] == ["manifest.json"]


def test_other_inputs_make_another_artifact_beside_and_each_is_found_again(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    complete(volume, rows("a"))
    beside = placed_by_inputs(volume, CONTRACT, [rows("b")])
    assert beside.output == f"runs/kept-{short_hash([rows('b')])}"
    complete(volume, rows("b"))
    assert placed_by_inputs(volume, CONTRACT, [rows("a")]).output == "runs/kept"
    assert placed_by_inputs(volume, CONTRACT, [rows("b")]) == beside


def test_what_an_earlier_version_made_is_taken_for_what_its_contract_says(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    complete(volume)
    assert placed_by_inputs(volume, CONTRACT, [rows("a")]).output == "runs/kept"


def test_a_manifest_of_a_later_version_is_read(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    complete(volume, rows("a"))
    manifest = tmp_path / "runs/kept/manifest.json"
    manifest.write_text(manifest.read_text().replace('{\n  "stage"', '{\n  "later": [{}],\n  "stage"'))
    assert placed_by_inputs(volume, CONTRACT, [rows("a")]).output == "runs/kept"


def test_what_is_under_way_is_refused_to_other_inputs_or_begins_anew(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    writer = ArtifactWriter(volume, CONTRACT, [rows("a")])
    (writer.directory / "rows").write_text("half")
    writer.work.mkdir()
    refuse_changes(volume, CONTRACT, [rows("a")])
    with pytest.raises(WrongInput, match=r"runs/kept was begun: rows rows\.jsonl was a, and is b now") as refused:
        refuse_changes(volume, CONTRACT, [rows("b")])
    assert refused.value.reason == "InputChanged"
    discard_if_changed(volume, CONTRACT, [rows("a")])
    assert (writer.directory / "rows").exists()
    discard_if_changed(volume, CONTRACT, [rows("b")])
    again = ArtifactWriter(volume, CONTRACT, [rows("b")])
    assert not (again.directory / "rows").exists()
    assert not again.work.exists()


def test_work_of_an_earlier_version_goes_on_and_is_recorded_from_then_on(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    ArtifactWriter(volume, CONTRACT)
    refuse_changes(volume, CONTRACT, [rows("a")])
    ArtifactWriter(volume, CONTRACT, [rows("a")])
    with pytest.raises(WrongInput):
        refuse_changes(volume, CONTRACT, [rows("b")])
