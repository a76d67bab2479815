"""What a run reads, looked at before any device is touched."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from distill_runtime.contract import InputFingerprint, TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.description import (
    PACKED_COLUMNS,
    SAMPLES_PER_SEQUENCE,
    SEQUENCES_DIRECTORY,
    PackedDataset,
)
from distill_runtime.packing.tokens import SampleTokenizer
from distill_runtime.storage.artifact import open_artifact
from distill_runtime.storage.fingerprints import fingerprint_artifact, fingerprint_directory
from distill_runtime.storage.volume import Volume
from distill_runtime.training.architecture import Architecture, read_architecture
from distill_runtime.training.configuration import TrainingData, compresses_mask
from distill_runtime.training.divisions import check_divisions, warn_of_vocabulary
from distill_runtime.training.end_token import EndToken
from distill_runtime.training.overrides import refuse_owned
from distill_runtime.training.schedule import Schedule, plan_schedule
from distill_runtime.training.tensors import read_directory
from distill_runtime.training.weight_names import check_shapes

logger = logging.getLogger(__name__)

_MODEL_FILES = ("*.json", "*.txt", "*.jinja", "*.safetensors")


@dataclass(frozen=True)
class TrainingInputs:
    """Checked inputs of a run.

    Attributes:
        model: directory of the base model.
        architecture: its architecture.
        data: the packed data.
        schedule: the steps it makes.
        sequences: packed sequences in the data.
        labelled_tokens: tokens in the data that are trained on.
        end_token: what the model learns to end an answer with; None if that is not known.
    """

    model: Path
    architecture: Architecture
    data: TrainingData
    schedule: Schedule
    sequences: int
    labelled_tokens: int
    end_token: EndToken | None


def fingerprint_model(uri: str, volume: Volume) -> InputFingerprint:
    """Tell the content of a model's directory: weights, configuration, tokenizer.

    Raises:
        WrongInput: as `fingerprint_directory`.
    """
    return fingerprint_directory("model", uri, volume, _MODEL_FILES)


def fingerprint_inputs(contract: TrainContract, volume: Volume) -> tuple[InputFingerprint, ...]:
    """Tell what the packed data is, and the base model.

    Raises:
        WrongInput: as `fingerprint_model`.
    """
    return fingerprint_artifact("dataset", contract.dataset), fingerprint_model(contract.model.uri, volume)


def open_inputs(contract: TrainContract, volume: Volume) -> TrainingInputs:
    """Open and check everything that a run reads.

    Raises:
        WrongInput: saying what is wrong, where, and what to do.
    """
    refuse_owned(contract.mindformers)
    model = volume.resolve(contract.model.uri)
    architecture = read_architecture(model)
    if contract.model.initialization == "pretrained":
        shapes = {name: tensor.shape for name, tensor in read_directory(model).items()}
        check_shapes(shapes, architecture, contract.model.uri)
    directory, _manifest = open_artifact(volume, contract.dataset)
    packed = PackedDataset.read(directory)
    data = TrainingData(path=directory / SEQUENCES_DIRECTORY, sequence_length=packed.sequence_length)
    check_divisions(contract, architecture, data.sequence_length)
    warn_of_vocabulary(contract, architecture)
    _check_columns(data, contract, architecture)
    tokenizer = SampleTokenizer(model)
    _check_tokenizer(packed, tokenizer, architecture, contract)
    if data.sequence_length > architecture.max_position_embeddings:
        raise WrongInput(
            "SequenceTooLong",
            f"{contract.dataset.uri} is packed to {data.sequence_length} tokens, {contract.model.uri} has positions "
            f"for {architecture.max_position_embeddings}; pack with a smaller pack.sequenceLength, or raise "
            "max_position_embeddings, and rope_theta with it, in the model's config.json: training goes by that, and "
            "the exported model keeps it",
        )
    return TrainingInputs(
        model=model,
        architecture=architecture,
        data=data,
        schedule=plan_schedule(contract, packed.sequences),
        sequences=packed.sequences,
        labelled_tokens=packed.trained_tokens,
        end_token=_end_token(packed, tokenizer, contract),
    )


def _check_columns(data: TrainingData, contract: TrainContract, architecture: Architecture) -> None:
    """Look into the packed data for what training needs of it.

    Raises:
        WrongInput: ColumnMissing or TooManySamples.
    """
    longest = 0
    for file in sorted(data.path.glob("*.arrow")):
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            if missing := sorted(set(PACKED_COLUMNS) - set(stream.schema.names)):
                raise WrongInput(
                    "ColumnMissing",
                    f"{contract.dataset.uri} lacks the columns {', '.join(missing)}; "
                    f"it has {', '.join(stream.schema.names)}",
                )
            for batch in stream:
                samples = pc.max(pc.list_value_length(batch["actual_seq_len"])).as_py()
                longest = max(longest, samples or 0)
    if compresses_mask(contract, architecture, data.sequence_length) and longest > SAMPLES_PER_SEQUENCE:
        raise WrongInput(
            "TooManySamples",
            f"a packed sequence of {contract.dataset.uri} holds {longest} samples; the compressed attention mask of "
            f"MindFormers takes {SAMPLES_PER_SEQUENCE} at most: pack with a smaller pack.sequenceLength",
        )


def _check_tokenizer(
    packed: PackedDataset, tokenizer: SampleTokenizer, architecture: Architecture, contract: TrainContract
) -> None:
    """Check that the data was packed with the model's own tokenizer, or at least that the model has all its tokens.

    Raises:
        WrongInput: TokenizerMismatch or VocabularyTooSmall.
    """
    if packed.tokenizer is None:
        largest = packed.largest_token_id or 0
        if largest >= tokenizer.vocabulary_size:
            raise WrongInput(
                "TokenizerMismatch",
                f"{contract.dataset.uri} has the token id {largest}, but the tokenizer of {contract.model.uri} only "
                f"{tokenizer.vocabulary_size} tokens; use the model that the data was packed for",
            )
    elif tokenizer.fingerprint() != packed.tokenizer:
        raise WrongInput(
            "TokenizerMismatch",
            f"{contract.dataset.uri} was packed with another tokenizer than that of {contract.model.uri}, so its "
            "numbers mean other text; pack with pack.tokenizer.uri set to the model's directory",
        )
    tokens = len(tokenizer.template)
    if tokens > architecture.vocab_size:
        raise WrongInput(
            "VocabularyTooSmall",
            f"the tokenizer in {contract.model.uri} has {tokens} tokens, the embedding of its config.json only "
            f"{architecture.vocab_size}; take both from the same model",
        )


def _end_token(packed: PackedDataset, tokenizer: SampleTokenizer, contract: TrainContract) -> EndToken | None:
    """Say what an answer ends with: as the pack stage wrote it, or for data packed elsewhere, as the model's template.

    Where neither says it, whoever packed the data knows better than this stage what the base model is to stop by.
    """
    token_id = packed.end_token_id
    if token_id is None:
        try:
            token_id = tokenizer.end_token_id
        except WrongInput as error:
            logger.warning(
                "it is not known by which token the model learns to stop: %s does not say it, and in %s %s; servers "
                "will stop it by the base model's own tokens",
                contract.dataset.uri,
                contract.model.uri,
                error.message,
            )
            return None
    return EndToken(token_id, tokenizer.token(token_id))
