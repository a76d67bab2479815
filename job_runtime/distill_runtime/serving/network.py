"""The student as a function: MindFormers' network, weights loaded, from sequences to the next token's logits."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import mindspore
import numpy as np
from mindformers.core.context.build_context import MFContextOperator
from mindformers.models.llama import LlamaConfig, LlamaForCausalLM
from mindformers.models.qwen3 import Qwen3Config, TrainingQwen3ForCausalLM
from mindformers.tools.register import MindFormerConfig
from mindspore import nn, ops
from numpy.typing import NDArray

from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture, read_architecture
from distill_runtime.training.configuration import inference_config
from distill_runtime.training.tensors import read_directory
from distill_runtime.training.weight_layout import Part, weave_arrays, weight_layout
from distill_runtime.training.weight_names import check_shapes

_LENGTH_STEP: Final = 32
"""Sequences are padded to a multiple of it: each length that occurs is compiled once, which takes seconds."""
_RANDOM_STATES: Final = ("dropout.seed", "dropout.offset")
"""Parameters of a newer network that no model directory has, and that nothing depends on without dropout."""


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
        WrongInput: UnsupportedModel, WeightsMissing, WeightsDamaged or WeightsMismatch.
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
        self._network = _Newer(config) if architecture.newer else _Older(config)
        self._network.set_train(False)
        self._load(directory, architecture)

    def next_logits(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Give float32 (sequences, vocabulary): what follows each of at most `batch_size` sequences."""
        longest = max(map(len, sequences))
        length = min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, self.max_tokens)
        input_ids = np.zeros((self.batch_size, length), np.int32)
        lengths = np.ones(self.batch_size, np.int32)
        for row, sequence in enumerate(sequences):
            input_ids[row, : len(sequence)] = sequence
            lengths[row] = len(sequence)
        output = self._network(mindspore.Tensor(input_ids), _causal_mask(length), mindspore.Tensor(lengths))
        logits: NDArray[np.float32] = output.asnumpy().reshape(self.batch_size, -1)
        return logits[: len(sequences)]

    def _load(self, directory: Path, architecture: Architecture) -> None:
        shapes = {name: tensor.shape for name, tensor in read_directory(directory).items()}
        check_shapes(shapes, architecture, str(directory))
        parameters: dict[str, Any] = {}
        for file in sorted(directory.glob("*.safetensors")):
            parameters |= mindspore.load_checkpoint(str(file), format="safetensors")
        layout = weight_layout(architecture)
        stored = {name: _weave([parameters[part.name] for part in parts], parts) for name, parts in layout.items()}
        missing, _unused = mindspore.load_param_into_net(self._network, stored)
        if lacking := [name for name in missing if not name.endswith(_RANDOM_STATES)]:
            raise WrongInput(
                "WeightsMismatch", f"{directory} lacks weights that its config.json asks for: {', '.join(lacking[:5])}"
            )


def _weave(parameters: Sequence[Any], parts: Sequence[Part]) -> Any:
    if len(parameters) == 1:
        return parameters[0]
    whole = weave_arrays([parameter.asnumpy() for parameter in parameters], parts)
    return mindspore.Parameter(mindspore.Tensor(whole))


class _Older(nn.Cell):  # type: ignore[misc] # MindSpore has no types
    """A network of Llama's kind, which takes the logits of the last tokens alone if it is told the lengths."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(auto_prefix=False)
        self.network = LlamaForCausalLM(LlamaConfig(**config))

    def construct(self, input_ids: Any, mask: Any, lengths: Any) -> Any:
        """Give the logits after each sequence."""
        return self.network(input_ids=input_ids, attention_mask=mask, batch_valid_length=lengths)[0]


class _Newer(nn.Cell):  # type: ignore[misc] # MindSpore has no types
    """Qwen3 as it is trained; MindFormers' own network for inference is of operators that only an NPU has.

    The one for training computes the logits of every position: of 64 answers of 512 tokens and a vocabulary of 151,936,
    20 GB. So they are computed here, of the last tokens alone.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(auto_prefix=False)
        MFContextOperator(MindFormerConfig(use_legacy=False))  # what all of MindFormers asks which kind it is
        self.network = TrainingQwen3ForCausalLM(Qwen3Config(**config))
        self.tied = config["tie_word_embeddings"]

    def construct(self, input_ids: Any, mask: Any, lengths: Any) -> Any:
        """Give the logits after each sequence."""
        model = self.network.model
        rows, tokens = input_ids.shape
        hidden, _, _ = model.language_model(input_ids, None, mask, None)  # (tokens, rows, width)
        places = (lengths - 1) * rows + ops.arange(0, rows).astype(lengths.dtype)
        last = ops.gather(hidden.reshape((tokens * rows, -1)), places, 0).reshape((1, rows, -1))
        table = model.shared_embedding_or_output_weight() if self.tied else None
        logits, _ = model.output_layer(last, table)
        return logits.astype(mindspore.float32)


@lru_cache(maxsize=1)  # of 32,768 tokens it takes a gigabyte
def _causal_mask(length: int) -> Any:
    """Give (1, 1, length, length) of 1 where a token may not look: later ones, and so the padding at the end.

    Without it MindFormers masks whatever equals its padding token, and takes a mask of its full length only.
    """
    return mindspore.Tensor(np.triu(np.ones((1, 1, length, length), np.uint8), k=1))
