"""Sequences that are packed already: what is right is registered as it is, what is wrong is named by row and column."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_from_disk
from pydantic import ValidationError
from support import chat_tokenizers
from support.interrupting import Interrupting, InterruptingEnd, Recording
from support.stage_process import end_stage
from support.student import pack_samples

from distill_runtime.contract import PackContract
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.packing import registering
from distill_runtime.packing.description import PackedDataset
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import pack
from distill_runtime.storage.artifact import open_artifact, verify_content
from distill_runtime.storage.volume import Volume

PAD = 9
Rows = dict[str, list[Any]]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(Volume(tmp_path), Reporter("pack", "samples"))


def contract(uri: str = "packed", **source: Any) -> PackContract:
    return PackContract.model_validate({"output": "out", "input": {"uri": uri, **source}})


def rows() -> Rows:
    """Three sequences of eight tokens: two samples and padding, two samples that fill it, one sample."""
    return {
        "input_ids": [[1, 2, 3, 4, 5, 6, PAD, PAD], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, PAD, PAD, PAD, PAD, PAD]],
        "labels": [
            [-100, 3, PAD, 5, 6, PAD, -100, -100],
            [-100, 3, 4, -100, -100, 7, 8, -100],
            [2, 3, -100, -100, -100, -100, -100, -100],
        ],
        "actual_seq_len": [[3, 6], [4, 8], [3]],
    }


def save(path: Path, columns: Rows) -> None:
    Dataset.from_dict(columns).save_to_disk(str(path))


def read(directory: Path) -> Rows:
    columns: Rows = load_from_disk(str(directory)).to_dict()
    return columns


def as_arrow(path: Path, columns: Rows) -> None:
    table = pa.table({name: pa.array(values, pa.large_list(pa.int32())) for name, values in columns.items()})
    path.mkdir()
    with pa.OSFile(str(path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table.slice(0, 2))
    with pa.OSFile(str(path / "b.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table.slice(2))


def as_parquet(path: Path, columns: Rows) -> None:
    path.mkdir()
    pq.write_table(pa.table({**columns, "note": ["of no concern"] * 3}), path / "train.parquet")


@pytest.mark.parametrize("write", [save, as_arrow, as_parquet])
def test_what_is_right_is_registered_as_it_is(
    context: StageContext, tmp_path: Path, write: Callable[[Path, Rows], None]
) -> None:
    write(tmp_path / "packed", rows())
    result = pack.run(contract(), context)
    assert (result.outcome, result.reason) == ("Succeeded", "Registered")
    assert result.counts == {"sequences": 3, "samples": 5, "tokens": 17, "trainedTokens": 11, "paddingLabels": 2}
    assert result.metrics == {"fill": 17 / 24}
    assert result.artifact is not None
    directory, manifest = open_artifact(context.volume, result.artifact)
    verify_content(directory, manifest)
    assert read(directory / "sequences") == rows()
    assert PackedDataset.read(directory) == PackedDataset(
        sequences=3,
        sequence_length=8,
        samples=5,
        tokens=17,
        trained_tokens=11,
        pad_token_id=PAD,
        tokenizer=None,
        largest_token_id=PAD,
    )
    assert "endTokenId" not in json.loads((directory / "packing.json").read_text())


def test_the_report_says_the_same_as_the_counts(context: StageContext, tmp_path: Path) -> None:
    save(tmp_path / "packed", rows())
    result = pack.run(contract(), context)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    values = {name: figure["value"] for name, figure in report["figures"].items()}
    assert values == pytest.approx(result.counts | result.metrics)
    (lengths,) = report["charts"]
    assert sum(bar["parts"][0] for bar in lengths["bars"]) == 5
    assert report["tables"] == []


def test_what_mindformers_packs_is_right(context: StageContext, tmp_path: Path) -> None:
    from mindformers.dataset.handler.packing_handler import PackingConfig, PackingHandler, pack_examples  # noqa: PLC0415

    random = np.random.default_rng(0)
    samples = []
    for size in random.integers(5, 60, 200).tolist():
        ids = random.integers(10, 300, size).tolist()
        samples.append({"input_ids": ids, "labels": [-100] * 3 + ids[3:]})
    columns = PackingHandler.output_columns
    packed = pack_examples(samples, PackingConfig(seq_length=128, pad_token=PAD, output_columns=columns))
    packed.save_to_disk(str(tmp_path / "packed"))
    result = pack.run(contract(), context)
    assert result.counts["samples"] == result.counts["paddingLabels"] == 200
    assert result.counts["tokens"] == sum(len(sample["input_ids"]) for sample in samples)
    assert read(tmp_path / "out" / "sequences") == packed.to_dict()
    assert "200 labels teach the pad token" in result.message


def changed(column: str, row: int, value: Any) -> Rows:
    columns = rows()
    columns[column][row] = value
    return columns


DEFECTS: list[tuple[str, Rows, str, str]] = [
    ("short", changed("input_ids", 1, [1, 2, 3]), "row 1", "column input_ids has 3 numbers, but the first"),
    ("labels short", changed("labels", 2, [2, 3]), "row 2", "column labels has 2 numbers, but the first"),
    ("null", changed("labels", 1, None), "row 1", "column labels is null"),
    ("null inside", changed("actual_seq_len", 1, [4, None]), "row 1", "column actual_seq_len is null or has a null"),
    ("no ends", changed("actual_seq_len", 2, []), "row 2", "column actual_seq_len is empty"),
    (
        "lengths",
        changed("actual_seq_len", 1, [4, 4]),
        "row 1",
        "column actual_seq_len has 4 where it must be more than 4",
    ),
    (
        "an end at 0",
        changed("actual_seq_len", 2, [0, 3]),
        "row 2",
        "column actual_seq_len has 0 where it must be more than 0",
    ),
    (
        "too far",
        changed("actual_seq_len", 1, [4, 9]),
        "row 1",
        "column actual_seq_len ends at 9, but the sequence has 8 tokens",
    ),
    ("too near", changed("actual_seq_len", 1, [4]), "row 1", "column input_ids has 5 at position 4, behind the last"),
    (
        "label in the padding",
        changed("labels", 2, [2, 3, -100, 4, -100, -100, -100, -100]),
        "row 2",
        "column labels has 4 at position 3, behind the last sample",
    ),
    (
        "across samples",
        changed("labels", 1, [-100, 3, 4, 5, -100, 7, 8, -100]),
        "row 1",
        "column labels has 5 at position 3, the last one of a sample",
    ),
    (
        "not shifted",
        changed("labels", 1, [-100, 2, 3, -100, -100, 6, 7, -100]),
        "row 1",
        "column labels are not shifted",
    ),
    (
        "another token",
        changed("labels", 1, [-100, 3, 7, -100, -100, 7, 8, -100]),
        "row 1",
        "column labels has 7 at position 2, but the token that comes next is 4",
    ),
    ("nothing learned", changed("labels", 1, [-100] * 8), "row 1", "column labels are all -100"),
    ("negative id", changed("input_ids", 1, [1, -2, 3, 4, 5, 6, 7, 8]), "row 1", "column input_ids has -2 at"),
    ("huge id", changed("input_ids", 1, [1, 2**31, 3, 4, 5, 6, 7, 8]), "row 1", "column input_ids has 2147483648 at"),
]


@pytest.mark.parametrize(("columns", "row", "said"), [case[1:] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_a_defect_is_named_by_row_and_column(
    context: StageContext, tmp_path: Path, columns: Rows, row: str, said: str
) -> None:
    save(tmp_path / "packed", columns)
    with pytest.raises(WrongInput) as refusal:
        pack.run(contract(), context)
    assert refusal.value.reason == "InvalidSequence"
    assert refusal.value.message.startswith(f"{row} of packed, counted from 0: {said}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", [pack.check, pack.run])
@pytest.mark.parametrize(
    ("columns", "reason", "said"),
    [
        (
            {name: values for name, values in rows().items() if name != "actual_seq_len"},
            "ColumnMissing",
            "no column 'actual_seq_len'; it has input_ids, labels.",
        ),
        ({**rows(), "labels": [["a"]] * 3}, "WrongColumnType", "column 'labels' of"),
        ({**rows(), "labels": [1, 2, 3]}, "WrongColumnType", "holds int64, not lists of integers"),
        ({name: [] for name in rows()} | {"input_ids": [[]], "labels": [[]], "actual_seq_len": [[]]}, "Wrong", ""),
        (changed("labels", 0, [1, 2, 3]), "InvalidSequence", "row 0"),
    ],
)
def test_columns_and_the_first_row_are_checked_before_anything_is_written(
    context: StageContext, tmp_path: Path, entry: Any, columns: Rows, reason: str, said: str
) -> None:
    save(tmp_path / "packed", columns)
    with pytest.raises(WrongInput) as refusal:
        entry(contract(), context)
    assert refusal.value.reason.startswith(reason)
    assert said in refusal.value.message
    assert not (tmp_path / "out.partial").exists()


def test_lines_of_json_hold_no_packed_data(context: StageContext, tmp_path: Path) -> None:
    (tmp_path / "packed.jsonl").write_text('{"input_ids": [1], "labels": [1], "actual_seq_len": [1]}\n')
    with pytest.raises(WrongInput, match="packed data is in arrow or parquet files"):
        pack.check(contract("packed.jsonl"), context)


class TestTokenizer:
    """Where it is known, ids are checked against it, and it goes with the sequences."""

    @pytest.fixture
    def packed(self, context: StageContext, tmp_path: Path) -> Path:
        """An artifact of the pack stage itself."""
        chat_tokenizers.write_tokenizer(tmp_path / "student", chat_tokenizers.QWEN_2_5)
        pack_samples(context.volume, 30)
        return tmp_path / "packed"

    def test_the_artifact_is_like_the_one_that_was_packed(self, context: StageContext, packed: Path) -> None:
        result = pack.run(contract("packed/sequences", tokenizer={"uri": "student"}), context)
        assert result.counts["paddingLabels"] == 0
        out = packed.parent / "out"
        assert read(out / "sequences") == read(packed / "sequences")
        assert PackedDataset.read(out) == PackedDataset.read(packed).model_copy(update={"end_token_id": None})
        assert (out / "tokenizer" / "tokenizer.json").read_bytes() == (
            packed / "tokenizer" / "tokenizer.json"
        ).read_bytes()

    def test_an_artifact_of_the_pack_stage_brings_its_own(self, context: StageContext, packed: Path) -> None:
        pack.run(contract("packed"), context)
        assert PackedDataset.read(packed.parent / "out") == PackedDataset.read(packed)

    def test_another_one_than_the_artifact_s_is_refused(self, context: StageContext, packed: Path) -> None:
        text = (packed.parent / "student" / "tokenizer.json").read_text()
        (packed.parent / "student" / "tokenizer.json").write_text(text.replace("<|eot_id|>", "<|another|>"))
        with pytest.raises(WrongInput) as refusal:
            pack.check(contract("packed", tokenizer={"uri": "student"}), context)
        assert refusal.value.reason == "TokenizerMismatch"

    def test_an_id_beyond_its_vocabulary_is_refused(self, context: StageContext, packed: Path) -> None:
        columns = read(packed / "sequences")
        columns["input_ids"][1][0] = 400
        save(packed.parent / "changed", columns)
        with pytest.raises(
            WrongInput, match=r"row 1 of changed.* input_ids has 400 at position 0.*from 0 to \d+; name the"
        ):
            pack.run(contract("changed", tokenizer={"uri": "student"}), context)

    def test_one_that_is_not_there_is_named(self, context: StageContext, packed: Path) -> None:
        with pytest.raises(WrongInput) as refusal:
            pack.check(contract("packed/sequences", tokenizer={"uri": "nowhere"}), context)
        assert refusal.value.reason == "TokenizerMissing"


def many(count: int) -> Rows:
    """Sequences that differ."""
    return {
        "input_ids": [[1 + number % 5, 2, 3, 4 + number % 5, 5, 6, 7, PAD] for number in range(count)],
        "labels": [[-100, 3, -100, 5, 6, 7, -100, -100] for _ in range(count)],
        "actual_seq_len": [[3, 7]] * count,
    }


def test_files_are_registered_one_after_another_through_any_interruption(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "FILE_TOKENS", 8 * 40)
    monkeypatch.setattr(registering, "_BATCH_TOKENS", 8 * 15)
    as_arrow(tmp_path / "packed", many(110))
    Dataset.from_dict(many(70)).to_parquet(tmp_path / "packed" / "c.parquet")
    undisturbed = pack.run(contract(), context)
    assert undisturbed.counts["sequences"] == 180
    assert undisturbed.artifact is not None
    _, manifest = open_artifact(context.volume, undisturbed.artifact)
    assert sum(file.path.endswith(".arrow") for file in manifest.files) == 4
    assert read(tmp_path / "out" / "sequences")["input_ids"] == many(110)["input_ids"] + many(70)["input_ids"]
    for at in range(1, 16):
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(Terminated):
            pack.run(contract(), StageContext(context.volume, Interrupting(at)))
        assert pack.run(contract(), context) == undisturbed


def test_a_killed_stage_goes_on_to_the_same_artifact(context: StageContext, tmp_path: Path) -> None:
    save(tmp_path / "packed", many(300_000))
    undisturbed = pack.run(contract(), context)
    shutil.rmtree(tmp_path / "out")
    written = tmp_path / "out.partial" / "sequences" / "data-00000.arrow"
    assert end_stage(tmp_path, contract(), written, 1_000_000, signal.SIGKILL) == -signal.SIGKILL
    assert pack.run(contract(), context) == undisturbed
    assert not (tmp_path / "out.partial").exists()
    assert not (tmp_path / "out.work").exists()


def test_ended_before_its_artifact_is_complete_it_checks_nothing_again(context: StageContext, tmp_path: Path) -> None:
    save(tmp_path / "packed", many(20))
    with pytest.raises(Terminated):
        pack.run(contract(), StageContext(context.volume, InterruptingEnd()))
    resumed = Recording()
    assert pack.run(contract(), StageContext(context.volume, resumed)).counts["sequences"] == 20
    assert set(resumed.done) == {20}


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"uri": "packed"}, "pack": {"tokenizer": {"uri": "t"}, "sequenceLength": 64}},
        {"input": {"uri": "filter", "digest": "sha256:" + "0" * 64}},
    ],
)
def test_how_to_pack_is_said_of_what_is_not_packed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="pack must be set for an artifact of filter or select"):
        PackContract.model_validate({"output": "out", **changes})
