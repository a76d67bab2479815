"""What is wrong with a run's inputs is said before any device is touched."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, load_from_disk
from safetensors.numpy import save_file
from support import chat_tokenizers
from support.student import pack_samples, train_contract, write_student, write_weights

from distill_runtime.contract import ArtifactReference, ModelSource, PackContract, Parallelism
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, check_stage
from distill_runtime.stages import msrun, pack
from distill_runtime.storage.volume import Volume
from distill_runtime.training.inputs import open_inputs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volume")
    write_student(root / "student")
    write_weights(write_student(root / "pretrained"))
    return root


@pytest.fixture(scope="module")
def dataset(root: Path) -> ArtifactReference:
    return pack_samples(Volume(root), 60)


def refusal(root: Path, dataset: ArtifactReference, **changes: object) -> WrongInput:
    with pytest.raises(WrongInput) as refused:
        msrun.check(train_contract(dataset, **changes), StageContext(Volume(root), Reporter("msrun", "steps")))
    return refused.value


def test_what_is_right_is_opened(root: Path, dataset: ArtifactReference) -> None:
    inputs = open_inputs(train_contract(dataset, model=ModelSource(uri="pretrained")), Volume(root))
    assert inputs.sequences == inputs.schedule.steps_per_epoch * 4 + inputs.sequences % 4
    assert inputs.data.sequence_length == 128
    assert 0 < inputs.labelled_tokens < inputs.sequences * 128


@pytest.mark.mindspore
def test_checking_writes_nothing_and_says_how_large_the_run_is(root: Path, dataset: ArtifactReference) -> None:
    before = sorted(root.rglob("*"))
    contract = train_contract(dataset)
    context = StageContext(Volume(root), Reporter("msrun", "steps"))
    schedule = open_inputs(contract, context.volume).schedule
    result = check_stage(msrun, contract, context)
    assert result.counts == {"globalBatchSize": 4, "totalSteps": schedule.total_steps}
    assert result.metrics == {}  # nothing of memory, on CPU
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"model": {"uri": "nowhere"}}, "ModelConfigMissing", "model.uri must be a directory"),
        ({"model": {"uri": "student"}}, "WeightsMissing", "set model.initialization to random"),
        ({"parallelism": Parallelism(tensor=2), "devices_per_node": 2}, "UnsupportedOnCpu", "data parallelism"),
        ({"parallelism": Parallelism(sequence=True)}, "UnsupportedOnCpu", "sequence at false"),
        (
            {"parallelism": Parallelism(tensor=4), "devices_per_node": 4, "device_target": "Ascend"},
            "HeadsNotDivisible",
            "num_key_value_heads 2, which parallelism.tensor 4 does not divide",
        ),
        (
            {"parallelism": Parallelism(pipeline=3), "devices_per_node": 3, "device_target": "Ascend"},
            "LayersNotDivisible",
            "num_hidden_layers 2, which parallelism.pipeline 3 does not divide",
        ),
        (
            {"parallelism": Parallelism(pipeline=2), "devices_per_node": 2, "device_target": "Ascend"},
            "TooFewMicroBatches",
            "parallelism.microBatches 1 is less than parallelism.pipeline 2",
        ),
        ({"devices_per_node": 64}, "DatasetTooSmall", "there is not one step"),
        ({"mindformers": {"seed": 1}}, "OverrideNotAllowed", "training.seed"),
        ({"training": {"learningRate": 1e-5, "finalLearningRate": 1e-4}}, "LearningRateRises", "finalLearningRate"),
    ],
)
def test_a_contract_that_cannot_work(
    root: Path, dataset: ArtifactReference, changes: dict[str, object], reason: str, said: str
) -> None:
    refused = refusal(root, dataset, **changes)
    assert refused.reason == reason
    assert said in refused.message


def test_a_dataset_that_was_changed(root: Path, dataset: ArtifactReference) -> None:
    other = dataset.model_copy(update={"digest": "sha256:" + "1" * 64})
    assert refusal(root, other).reason == "ArtifactChanged"


def test_an_artifact_of_another_stage(root: Path, dataset: ArtifactReference) -> None:
    manifest = json.loads((root / "packed" / "manifest.json").read_text())
    assert refusal(root, ArtifactReference.model_validate(manifest["inputs"][0])).reason == "NotPackedData"


def test_sequences_longer_than_the_models_positions(root: Path, dataset: ArtifactReference) -> None:
    write_student(root / "short", max_position_embeddings=64)
    refused = refusal(root, dataset, model=ModelSource(uri="short", initialization="random"))
    assert refused.reason == "SequenceTooLong"
    assert "packed to 128 tokens, short has positions for 64" in refused.message
    assert "raise max_position_embeddings, and rope_theta with it, in the model's config.json" in refused.message


def test_samples_that_the_compressed_mask_has_no_room_for(root: Path) -> None:
    write_student(root / "roomy", max_position_embeddings=2048)
    roomy = ModelSource(uri="roomy", initialization="random")
    for length in (2048, 1024):
        samples = length // 8
        columns = {
            "input_ids": [[5] * length] * 4,
            "labels": [([5] * 7 + [-100]) * samples] * 4,
            "actual_seq_len": [list(range(8, length + 1, 8))] * 4,
        }
        Dataset.from_dict(columns).save_to_disk(str(root / f"many-{length}"))
    refused = refusal(root, register(root, "many-2048"), model=roomy, device_target="Ascend")
    assert refused.reason == "TooManySamples"
    assert "holds 256 samples; the compressed attention mask of MindFormers takes 127 at most" in refused.message
    contract = train_contract(register(root, "many-1024"), model=roomy, device_target="Ascend")
    assert open_inputs(contract, Volume(root)).sequences == 4  # shorter ones are masked by a matrix


def test_weights_of_another_shape(root: Path, dataset: ArtifactReference) -> None:
    write_student(root / "mixed")
    save_file({"model.norm.weight": np.ones(16, np.float32)}, root / "mixed" / "model.safetensors")
    refused = refusal(root, dataset, model=ModelSource(uri="mixed"))
    assert refused.reason == "WeightsMismatch"
    assert "model.norm.weight is (16,), config.json says (32,)" in refused.message


def test_data_that_another_tokenizer_made(root: Path, dataset: ArtifactReference) -> None:
    write_student(root / "foreign")
    tokenizer = json.loads((root / "foreign" / "tokenizer.json").read_text())
    tokenizer["added_tokens"][0]["content"] = "<|another|>"
    (root / "foreign" / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused = refusal(root, dataset, model=ModelSource(uri="foreign", initialization="random"))
    assert refused.reason == "TokenizerMismatch"
    assert "pack.tokenizer.uri" in refused.message


@pytest.fixture(scope="module")
def foreign(root: Path, dataset: ArtifactReference) -> ArtifactReference:
    """The same sequences without a word about where they are from."""
    return register(root, f"{dataset.uri}/sequences")


def test_data_whose_tokenizer_is_not_known(root: Path, foreign: ArtifactReference) -> None:
    inputs = open_inputs(train_contract(foreign), Volume(root))
    assert inputs.sequences > 0
    assert inputs.end_token is not None
    assert inputs.end_token.text == "<|im_end|>"  # by the model's own template


def test_data_with_tokens_that_the_model_does_not_have(root: Path, dataset: ArtifactReference) -> None:
    columns = load_from_disk(str(root / dataset.uri / "sequences")).to_dict()
    columns["input_ids"][0][0] = 400
    Dataset.from_dict(columns).save_to_disk(str(root / "strange"))
    refused = refusal(root, register(root, "strange"))
    assert refused.reason == "TokenizerMismatch"
    assert "has the token id 400, but the tokenizer of student only" in refused.message


def register(root: Path, uri: str) -> ArtifactReference:
    """Register packed sequences without saying what made them."""
    contract = PackContract.model_validate({"output": f"registered-{uri}", "input": {"uri": uri}})
    artifact = pack.run(contract, StageContext(Volume(root), Reporter("pack", "samples"))).artifact
    assert artifact is not None
    return artifact


def test_a_chat_template_may_differ(root: Path, dataset: ArtifactReference) -> None:
    write_student(root / "templated")
    chat_tokenizers.write_tokenizer(root / "templated", chat_tokenizers.QWEN_3)
    contract = train_contract(dataset, model=ModelSource(uri="templated", initialization="random"))
    assert open_inputs(contract, Volume(root)).sequences > 0


def test_the_data_say_what_an_answer_ends_with(root: Path, dataset: ArtifactReference) -> None:
    chat_tokenizers.write_tokenizer(write_student(root / "other-end"), chat_tokenizers.LLAMA_3)
    contract = train_contract(dataset, model=ModelSource(uri="other-end", initialization="random"))
    end_token = open_inputs(contract, Volume(root)).end_token
    assert end_token is not None
    assert end_token.text == "<|im_end|>"
    assert end_token.id == json.loads((root / dataset.uri / "packing.json").read_text())["endTokenId"]


def test_where_neither_data_nor_template_say_it_there_is_a_warning(
    root: Path, foreign: ArtifactReference, caplog: pytest.LogCaptureFixture
) -> None:
    chat_tokenizers.write_tokenizer(
        write_student(root / "endless"), "{% for message in messages %}{{ message.content + '\n' }}{% endfor %}"
    )
    contract = train_contract(foreign, model=ModelSource(uri="endless", initialization="random"))
    assert open_inputs(contract, Volume(root)).end_token is None
    assert "it is not known by which token the model learns to stop" in caplog.text


def test_more_tokens_than_the_embedding_has(root: Path, dataset: ArtifactReference) -> None:
    write_student(root / "narrow", vocab_size=100)
    refused = refusal(root, dataset, model=ModelSource(uri="narrow", initialization="random"))
    assert refused.reason == "VocabularyTooSmall"
