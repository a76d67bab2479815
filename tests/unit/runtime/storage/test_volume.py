from pathlib import Path

import pytest

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.volume import Volume


@pytest.mark.parametrize("uri", ["a/b", "./a/b", "a/../a/b", "a//b"])
def test_names_are_relative_to_the_root(tmp_path: Path, uri: str) -> None:
    assert Volume(tmp_path).resolve(uri) == tmp_path / "a/b"


def test_an_absolute_path_on_the_volume_is_accepted(tmp_path: Path) -> None:
    assert Volume(tmp_path).resolve(str(tmp_path / "a")) == tmp_path / "a"


@pytest.mark.parametrize("uri", ["../a", "a/../../b", "/etc/passwd", ".."])
def test_what_leads_outside_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(WrongInput, match="outside the volume") as error:
        Volume(tmp_path / "volume").resolve(uri)
    assert error.value.reason == "PathOutsideVolume"
    assert uri in error.value.message


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    with pytest.raises(WrongInput):
        Volume(tmp_path / "data").resolve(str(tmp_path / "data-other"))


def test_relative_gives_back_the_name(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    assert volume.relative(volume.resolve("a/b")) == "a/b"
