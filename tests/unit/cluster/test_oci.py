import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.cluster.errors import ClusterError
from tests.cluster.oci import Image, Layout, write_archive


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "oci")


def add(layout: Layout, tmp_path: Path, name: str, content: bytes) -> Image:
    program = tmp_path / "program"
    program.write_bytes(content)
    return layout.add_program(name, program)


def archived(layout: Layout, images: list[Image], present: set[str]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    write_archive(layout, images, present, buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_an_archive_leaves_out_what_the_other_side_has(layout: Layout, tmp_path: Path) -> None:
    image = add(layout, tmp_path, "localhost/a:1", b"one")
    manifest, config, layer = layout.digests(image)
    everything = archived(layout, [image], set())
    assert set(everything) == {
        "oci-layout",
        "index.json",
        *(f"blobs/{digest.replace(':', '/')}" for digest in (manifest, config, layer)),
    }
    assert f"blobs/{layer.replace(':', '/')}" not in archived(layout, [image], {layer})
    assert json.loads(everything["index.json"])["manifests"][0]["digest"] == manifest


def test_two_names_of_one_image_share_its_blobs(layout: Layout, tmp_path: Path) -> None:
    image = add(layout, tmp_path, "localhost/a:1", b"one")
    alias = layout.name("localhost/a:dev", image.descriptor)
    names = [entry for entry in archived(layout, [image, alias], set()) if entry.startswith("blobs")]
    assert len(names) == len(set(names)) == 3


def test_a_name_goes_to_the_newer_image(layout: Layout, tmp_path: Path) -> None:
    add(layout, tmp_path, "localhost/a:1", b"one")
    newer = add(layout, tmp_path, "localhost/a:1", b"two")
    assert layout.images() == (newer,)


def test_keeping_some_images_removes_the_blobs_of_the_others_only(layout: Layout, tmp_path: Path) -> None:
    kept = add(layout, tmp_path, "localhost/kept:1", b"one")
    gone = add(layout, tmp_path, "localhost/gone:1", b"two")
    layout.keep({"localhost/kept:1"})
    assert layout.has(kept)
    assert not layout.blob(gone.digest).exists()
    assert layout.images() == (kept,)


def test_an_image_whose_layer_is_missing_is_not_there(layout: Layout, tmp_path: Path) -> None:
    image = add(layout, tmp_path, "localhost/a:1", b"one")
    assert layout.has(image)
    layout.blob(layout.digests(image)[-1]).unlink()
    assert not layout.has(image)


def test_an_unknown_image_is_named_with_the_remedy(layout: Layout) -> None:
    with pytest.raises(ClusterError, match=r"localhost/a:1 is not in .*make images"):
        layout.image("localhost/a:1")
