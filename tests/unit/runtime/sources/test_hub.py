import io
import json
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet
import pytest
from support.hub import Repository, hub

from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.table import open_table
from distill_runtime.storage.volume import Volume

ROWS = [{"problem": f"p{number}", "answer": str(number)} for number in range(300)]


def parquet() -> bytes:
    content = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), content)
    return content.getvalue()


README = b"""---
configs:
- data_files:
  - {split: train, path: data/*.parquet}
  - {split: test, path: t.jsonl}
---
"""
FILES = {
    "README.md": README,
    "data/a.parquet": parquet(),
    "t.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS[:3]),
    "picture.png": b"",
}


def read(uri: str, selection: Selection = Selection()) -> list[str]:  # noqa: B008 - frozen
    table = open_table(uri, Volume(Path()), {"promptColumn": "problem"}, selection)
    return [row["problem"] for row in table.rows()]


def test_a_data_set_is_read_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(Repository("AI-MO/Numina", FILES)) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert read("hf://AI-MO/Numina") == [row["problem"] for row in ROWS]
        assert read("hf://datasets/AI-MO/Numina") == [row["problem"] for row in ROWS]
        assert read("hf://AI-MO/Numina", Selection(split="test")) == ["p0", "p1", "p2"]
        assert read("hf://AI-MO/Numina/t.jsonl") == ["p0", "p1", "p2"]
        assert len(read("hf://AI-MO/Numina/data")) == 300
        with pytest.raises(WrongInput, match=r"Numina/other\.jsonl does not exist"):
            read("hf://AI-MO/Numina/other.jsonl")


def test_a_revision_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(Repository("o/n", FILES, revision="v1.5")) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert len(read("hf://o/n@v1.5")) == 300
        with pytest.raises(WrongInput, match="hf://o/n@v2 does not exist"):
            read("hf://o/n@v2")


def test_what_is_not_public_needs_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(Repository("o/n", FILES, token="hf_secret")) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(WrongInput, match="is not public and HF_TOKEN does not give access") as error:
            read("hf://o/n")
        assert error.value.reason == "SourceMissing"
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert len(read("hf://o/n")) == 300


@pytest.mark.parametrize("files", [FILES, {"data/a.parquet": parquet()}], ids=["with-a-card", "without"])
def test_what_is_gated_says_that_its_terms_must_be_accepted(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    with hub(Repository("o/n", files, token="hf_secret", gated=True)) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        for token in ("", "hf_of_somebody_else"):
            monkeypatch.setenv("HF_TOKEN", token)
            with pytest.raises(WrongInput, match="accept its terms on the hub, and give HF_TOKEN") as error:
                read("hf://o/n")
            assert error.value.reason == "SourceMissing"
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        assert len(read("hf://o/n")) == 300


def test_a_hub_that_does_not_answer_may_answer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(Repository("o/n", FILES)) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(Retryable, match="the hub does not answer for hf://o/n"):
        read("hf://o/n")


def test_offline_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.configure_http_backend()
    with pytest.raises(WrongInput, match="with HF_HUB_OFFLINE set; copy it to the claim"):
        read("hf://o/n")
    monkeypatch.undo()
    huggingface_hub.configure_http_backend()  # its session is the process's, and so the next test's


@pytest.mark.parametrize("uri", ["hf://name", "hf://datasets/name", "hf://"])
def test_a_name_needs_its_owner(uri: str) -> None:
    with pytest.raises(WrongInput, match="must be of the form hf://owner/name"):
        read(uri)
