"""The student as a function: MindFormers' network, weights loaded, from sequences to the next token's logits."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import mindspore
import numpy as np
from mindformers.models.llama import LlamaConfig, LlamaForCausalLM
from numpy.typing import NDArray

from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.configuration import inference_config
from distill_runtime.training.weight_names import to_mindformers

_LENGTH_STEP: Final = 32
"""Sequences are padded to a multiple of it: each length that occurs is compiled once, which takes seconds."""


class Network:
    """A model directory, loaded.

    Args:
        directory: config.json and *.safetensors, in HuggingFace's names.
        device_target: where it runs.
        batch_size: rows that are computed in every step.

    Attributes:
        batch_size: as given.
        max_tokens: positions that the model has.

    Raises:
        WrongInput: UnsupportedModel or WeightsMismatch.
    """

    def __init__(self, directory: Path, device_target: DeviceTarget, batch_size: int) -> None:
        architecture = read_architecture(directory)
        self.batch_size = batch_size
        self.max_tokens = architecture.max_position_embeddings
        mindspore.set_context(
            mode=mindspore.GRAPH_MODE, device_target=device_target, runtime_num_threads=available_cpus()
        )
        # Its own mask is never used: of the model's 131,072 positions it would take tens of gigabytes.
        config = inference_config(architecture, device_target, batch_size, sequence_length=_LENGTH_STEP)
        self._network = LlamaForCausalLM(LlamaConfig(**config))
        self._network.set_train(False)
        self._load(directory)

    def next_logits(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Give float32 (sequences, vocabulary): what follows each of at most `batch_size` sequences."""
        longest = max(map(len, sequences))
        length = min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, self.max_tokens)
        input_ids = np.zeros((self.batch_size, length), np.int32)
        lengths = np.ones(self.batch_size, np.int32)
        for row, sequence in enumerate(sequences):
            input_ids[row, : len(sequence)] = sequence
            lengths[row] = len(sequence)
        output = self._network(
            input_ids=mindspore.Tensor(input_ids),
            attention_mask=_causal_mask(length),
            batch_valid_length=mindspore.Tensor(lengths),
        )
        logits: NDArray[np.float32] = output[0].asnumpy().reshape(self.batch_size, -1)
        return logits[: len(sequences)]

    def _load(self, directory: Path) -> None:
        parameters: dict[str, Any] = {}
        for file in sorted(directory.glob("*.safetensors")):
            for name, parameter in mindspore.load_checkpoint(str(file), format="safetensors").items():
                if name.endswith(".inv_freq"):
                    continue
                parameters[to_mindformers(name)] = parameter
        missing, _unused = mindspore.load_param_into_net(self._network, parameters)
        if missing:
            raise WrongInput(
                "WeightsMismatch", f"{directory} lacks weights that its config.json asks for: {', '.join(missing[:5])}"
            )


@lru_cache(maxsize=1)  # of 32,768 tokens it takes a gigabyte
def _causal_mask(length: int) -> Any:
    """Give (1, 1, length, length) of 1 where a token may not look: later ones, and so the padding at the end.

    Without it MindFormers masks whatever equals its padding token, and takes a mask of its full length only.
    """
    return mindspore.Tensor(np.triu(np.ones((1, 1, length, length), np.uint8), k=1))
