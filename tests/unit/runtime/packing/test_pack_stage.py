"""The pack stage: from a filter artifact to a data set that MindFormers loads, with every row accounted for."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from support import chat_tokenizers
from support.interrupting import Interrupting, InterruptingEnd, Recording
from support.stage_process import end_stage

from distill_runtime.contract import (
    ArtifactReference,
    FilterContract,
    FilterParameters,
    PackContract,
    PackParameters,
)
from distill_runtime.contract.parameters import TokenizerSource
from distill_runtime.foundation.errors import Terminated, WrongInput
from distill_runtime.foundation.rows import KEPT_NAME, kept_row
from distill_runtime.packing import blocks
from distill_runtime.packing.description import PackedDataset
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import pack
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, verify_content
from distill_runtime.storage.volume import Volume

SEQUENCE_LENGTH = 512


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    chat_tokenizers.write_tokenizer(tmp_path / "tokenizer", chat_tokenizers.QWEN_2_5)
    return StageContext(Volume(tmp_path), Reporter("pack", "samples"))


def filter_artifact(volume: Volume, texts: list[str]) -> ArtifactReference:
    writer = ArtifactWriter(volume, FilterContract(output="filter", input="generate", filter=FilterParameters()))
    with (writer.directory / KEPT_NAME).open("w") as file:
        for number, text in enumerate(texts):
            prompt, answer = f"{number} + 1?", str(number + 1)
            row = kept_row(
                f"u{number}", 0, prompt, answer, text, source=None, tokens=None, teacher=None, decided_by="rules"
            )
            file.write(json.dumps(row) + "\n")
    return writer.finish({"kept": len(texts)}, {})


def contract(reference: ArtifactReference, **parameters: object) -> PackContract:
    return PackContract(
        output="pack",
        input=reference,
        pack=PackParameters(tokenizer=TokenizerSource(uri="tokenizer"), sequence_length=SEQUENCE_LENGTH, **parameters),
    )


def texts(count: int) -> list[str]:
    return [f"<think>\n{'one more ' * (number % 9)}\n</think>\n\n\\boxed{{{number + 1}}}" for number in range(count)]


def read_rows(directory: Path) -> list[dict[str, np.ndarray]]:
    from datasets import load_from_disk  # noqa: PLC0415

    return list(load_from_disk(str(directory / "sequences")).with_format("numpy"))


def test_every_row_is_packed_or_rejected(context: StageContext, tmp_path: Path) -> None:
    too_long = "on and on " * 200
    reference = filter_artifact(context.volume, [*texts(30), too_long, *texts(5)])
    result = pack.run(contract(reference), context)
    assert (result.outcome, result.reason) == ("Succeeded", "Packed")
    counts = result.counts
    assert counts["rows"] == 36 == counts["samples"] + counts["rejected.tooLong"]
    (reject,) = [json.loads(line) for line in (tmp_path / "pack" / "rejects.jsonl").read_text().splitlines()]
    assert (reject["uuid"], reject["generation"], reject["reason"]) == ("u30", 0, "tooLong")
    assert reject["tokens"] > SEQUENCE_LENGTH

    assert result.artifact is not None
    directory, manifest = open_artifact(context.volume, result.artifact)
    verify_content(directory, manifest)
    assert manifest.inputs == (reference,)
    rows = read_rows(directory)
    description = PackedDataset.read(directory)
    assert len(rows) == description.sequences == counts["sequences"]
    assert sum(int(row["actual_seq_len"][-1]) for row in rows) == description.tokens == counts["tokens"]
    learned = sum(int((row["labels"] != -100).sum()) for row in rows)
    assert learned == description.trained_tokens == counts["trainedTokens"]
    assert result.metrics["fill"] == pytest.approx(counts["tokens"] / (len(rows) * SEQUENCE_LENGTH))
    assert (directory / "tokenizer" / "tokenizer.json").read_bytes() == (
        tmp_path / "tokenizer" / "tokenizer.json"
    ).read_bytes()


TWO_ENDS_OF_REASONING = "<think>\nfirst\n</think>\n\nor rather\n</think>\n\n\\boxed{1}"


def test_rows_that_cannot_be_written_cost_no_others(context: StageContext, tmp_path: Path) -> None:
    chat_tokenizers.write_tokenizer(tmp_path / "tokenizer", chat_tokenizers.QWEN_3)
    written = [*texts(20), TWO_ENDS_OF_REASONING, "\\boxed{21}<|im_end|>", *texts(3)]
    result = pack.run(contract(filter_artifact(context.volume, written)), context)
    counts = result.counts
    assert (counts["rows"], counts["samples"]) == (25, 23)
    assert {name: number for name, number in counts.items() if name.startswith("rejected.")} == {
        "rejected.tooLong": 0,
        "rejected.templateUnsuitable": 1,
        "rejected.controlTokens": 1,
    }
    assert "1 rows are rejected as templateUnsuitable; 1 rows are rejected as controlTokens" in result.message
    rejects = [json.loads(line) for line in (tmp_path / "pack" / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["uuid"], reject["reason"]) for reject in rejects] == [
        ("u20", "templateUnsuitable"),
        ("u21", "controlTokens"),
    ]
    assert "changes the assistant's last message" in rejects[0]["why"]
    (rejected,) = json.loads((tmp_path / "pack" / "report.json").read_text())["tables"]
    assert [row[2] for row in rejected["rows"]] == [reject["why"] for reject in rejects]


def test_a_template_that_does_for_few_rows_is_refused_and_may_be_corrected(
    context: StageContext, tmp_path: Path
) -> None:
    chat_tokenizers.write_tokenizer(tmp_path / "tokenizer", chat_tokenizers.QWEN_3)
    stage = contract(filter_artifact(context.volume, [*texts(20), *[TWO_ENDS_OF_REASONING] * 21]))
    with pytest.raises(
        WrongInput, match=r"21 of 41 rows cannot be written .*; pack\.partial/rejects\.jsonl"
    ) as refusal:
        pack.run(stage, context)
    assert refusal.value.reason == "TemplateUnsuitable"
    chat_tokenizers.write_tokenizer(tmp_path / "tokenizer", chat_tokenizers.QWEN_2_5)
    assert pack.run(stage, context).counts["samples"] == 41


def test_the_report_says_the_same_as_the_counts(context: StageContext, tmp_path: Path) -> None:
    result = pack.run(contract(filter_artifact(context.volume, [*texts(30), "on and on " * 200])), context)
    report = json.loads((tmp_path / "pack" / "report.json").read_text())
    values = {name: figure["value"] for name, figure in report["figures"].items()}
    assert values == pytest.approx(result.counts | result.metrics)
    (lengths,) = report["charts"]
    assert sum(bar["parts"][0] for bar in lengths["bars"]) == result.counts["samples"] == 30
    (rejected,) = report["tables"]
    assert [row[:2] for row in rejected["rows"]] == [["tooLong", "u30 / 0"]]


def test_the_sequences_read_as_the_conversations(context: StageContext) -> None:
    from tokenizers import Tokenizer  # noqa: PLC0415

    written = texts(12)
    result = pack.run(contract(filter_artifact(context.volume, written), system_prompt="Think."), context)
    assert result.artifact is not None
    directory = context.volume.resolve(result.artifact.uri)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer" / "tokenizer.json"))
    given, learned = [], []
    for row in read_rows(directory):
        start = 0
        for end in row["actual_seq_len"]:
            labels = row["labels"][start:end]
            prompt_length = int((labels == -100).argmin()) + 1
            given.append(tokenizer.decode(row["input_ids"][start : start + prompt_length], skip_special_tokens=False))
            learned.append(tokenizer.decode(labels[labels != -100], skip_special_tokens=False))
            start = end
    assert sorted(learned) == sorted(text + "<|im_end|>" for text in written)
    assert PackedDataset.read(directory).end_token_id == tokenizer.token_to_id("<|im_end|>")
    assert sorted(given) == sorted(
        f"<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n{number} + 1?<|im_end|>\n<|im_start|>assistant\n"
        for number in range(12)
    )


def test_the_longest_sample_is_a_parameter(context: StageContext) -> None:
    stage = contract(filter_artifact(context.volume, texts(9)), max_sample_tokens=110, system_prompt="")
    result = pack.run(stage, context)
    assert result.counts["samples"] > 0
    assert result.counts["rejected.tooLong"] > 0
    assert result.counts["samples"] + result.counts["rejected.tooLong"] == 9


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"max_sample_tokens": 16}, "NothingToPack"),
        ({"max_sample_tokens": 513}, "SampleLongerThanSequence"),
        ({"tokenizer": TokenizerSource(uri="nowhere")}, "TokenizerMissing"),
    ],
)
def test_wrong_input_is_said(context: StageContext, parameters: dict[str, object], reason: str) -> None:
    stage = contract(filter_artifact(context.volume, texts(3)))
    stage = stage.model_copy(update={"pack": stage.pack.model_copy(update=parameters)})
    with pytest.raises(WrongInput) as refusal:
        pack.run(stage, context)
    assert refusal.value.reason == reason


def test_check_finds_a_template_that_drops_reasoning(context: StageContext, tmp_path: Path) -> None:
    chat_tokenizers.write_tokenizer(tmp_path / "tokenizer", chat_tokenizers.DROPS_REASONING)
    with pytest.raises(WrongInput, match="reasoning would be lost"):
        pack.check(contract(filter_artifact(context.volume, texts(3))), context)
    assert not (tmp_path / "pack.partial").exists()


def test_a_changed_input_is_refused(context: StageContext) -> None:
    reference = filter_artifact(context.volume, texts(3))
    changed = reference.model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(WrongInput) as refusal:
        pack.check(contract(changed), context)
    assert refusal.value.reason == "ArtifactChanged"


def test_blocks_are_packed_one_after_another_through_any_interruption(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SAMPLES", 50)
    monkeypatch.setattr(pack, "BLOCK_SAMPLES", 50)
    monkeypatch.setattr(blocks, "_BATCH_ROWS", 20)
    stage = contract(filter_artifact(context.volume, texts(210)))
    undisturbed = pack.run(stage, context)
    assert undisturbed.artifact is not None
    directory, manifest = open_artifact(context.volume, undisturbed.artifact)
    assert sum(file.path.endswith(".arrow") for file in manifest.files) == 4
    assert undisturbed.counts["samples"] == 210
    assert sum(len(row["actual_seq_len"]) for row in read_rows(directory)) == 210

    for at in range(1, 12):
        shutil.rmtree(tmp_path / "pack")
        with pytest.raises(Terminated):
            pack.run(stage, StageContext(context.volume, Interrupting(at)))
        assert pack.run(stage, context) == undisturbed


def test_a_killed_stage_goes_on_to_the_same_artifact(context: StageContext, tmp_path: Path) -> None:
    stage = contract(filter_artifact(context.volume, texts(3000)))
    undisturbed = pack.run(stage, context)
    shutil.rmtree(tmp_path / "pack")
    tokens = tmp_path / "pack.work" / "tokens"
    assert end_stage(tmp_path, stage, tokens, 200_000, signal.SIGKILL) == -signal.SIGKILL
    assert pack.run(stage, context) == undisturbed
    assert not (tmp_path / "pack.partial").exists()
    assert not (tmp_path / "pack.work").exists()


def test_ended_before_its_artifact_is_complete_it_packs_nothing_again(context: StageContext) -> None:
    stage = contract(filter_artifact(context.volume, texts(30)))
    with pytest.raises(Terminated):
        pack.run(stage, StageContext(context.volume, InterruptingEnd()))
    resumed = Recording()
    result = pack.run(stage, StageContext(context.volume, resumed))
    assert result.counts["samples"] == 30
    assert set(resumed.done) == {30}


def test_a_tokenizer_that_was_replaced_packs_beside_what_the_other_one_has(
    context: StageContext, tmp_path: Path
) -> None:
    asked = contract(filter_artifact(context.volume, texts(3)))
    first = run_stage(pack, asked, context)
    (tmp_path / "tokenizer" / "model.safetensors").write_bytes(b"weights")  # no part of it
    assert run_stage(pack, asked, context).artifact == first.artifact
    template = tmp_path / "tokenizer" / "tokenizer_config.json"
    template.write_text(template.read_text() + "\n")
    second = run_stage(pack, asked, context)
    assert second.artifact != first.artifact
    assert [each.name for each in second.inputs] == ["kept", "tokenizer"]
