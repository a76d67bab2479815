"""A student small enough to be trained in seconds, and data packed for it."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from support import chat_tokenizers

from distill_runtime.contract import (
    ArtifactReference,
    Checkpoint,
    FilterContract,
    FilterParameters,
    ModelSource,
    PackContract,
    PackParameters,
    Parallelism,
    TrainContract,
    Training,
)
from distill_runtime.contract.parameters import TokenizerSource
from distill_runtime.foundation.rows import KEPT_NAME, kept_row
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import pack
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.weight_names import expected_shapes

SEQUENCE_LENGTH = 128
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "vocab_size": 512,
}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16}
"""What makes it a Qwen3, with heads that are wider together than the network."""


def write_student(directory: Path, **changes: object) -> Path:
    """Write a model directory without weights; `changes` replace keys of its config.json."""
    chat_tokenizers.write_tokenizer(directory, chat_tokenizers.QWEN_2_5)
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    return directory


def write_weights(directory: Path) -> dict[str, NDArray[np.float32]]:
    """Add random weights to a model directory."""
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(scale=0.2, size=shape).astype(np.float32)
        for name, shape in expected_shapes(read_architecture(directory)).items()
    }
    save_file(weights, directory / "model.safetensors")
    return weights


def pack_samples(volume: Volume, samples: int, tokenizer: str = "student") -> ArtifactReference:
    """Pack short samples with a tokenizer on the volume, by the pack stage itself."""
    writer = ArtifactWriter(volume, FilterContract(output="filter", input="generate", filter=FilterParameters()))
    with (writer.directory / KEPT_NAME).open("w") as file:
        for number in range(samples):
            text = f"<think>\nAdd one.\n</think>\n\n\\boxed{{{number + 1}}}"
            prompt, answer = f"{number} + 1?", str(number + 1)
            row = kept_row(
                f"u{number}", 0, prompt, answer, text, source=None, tokens=None, teacher=None, decided_by="rules"
            )
            file.write(json.dumps(row) + "\n")
    kept = writer.finish({"kept": samples}, {})
    contract = PackContract(
        output="packed",
        input=kept,
        pack=PackParameters(
            tokenizer=TokenizerSource(uri=tokenizer), sequence_length=SEQUENCE_LENGTH, system_prompt="Add."
        ),
    )
    result = pack.run(contract, StageContext(volume, Reporter("pack", "samples")))
    assert result.artifact is not None
    return result.artifact


def train_contract(dataset: ArtifactReference, **changes: object) -> TrainContract:
    """Give a contract that trains the student from scratch on a CPU; `changes` replace its fields."""
    fields = {
        "output": "trained",
        "dataset": dataset,
        "model": ModelSource(uri="student", initialization="random"),
        "training": Training(epochs=2, batch_size=4, learning_rate=1e-2),
        "parallelism": Parallelism(),
        "checkpoint": Checkpoint(every_steps=3, keep=2),
        "device_target": "CPU",
    }
    return TrainContract.model_validate(fields | changes)
