"""How far a token's change reaches in a packed sequence: `python attention_leak.py MODEL [patched|plain]`.

Two samples of 16 tokens share a sequence; token 10 is changed. Prints, as JSON, the largest change of the logits of
the tokens before it, of those after it in its own sample, and of the other sample.
"""

import json
import sys
from pathlib import Path

from distill_runtime.training import cpu_patches, patching
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.configuration import inference_config

LENGTH, SECOND_SAMPLE, CHANGED = 32, 16, 10


def main(model: Path, patched: bool) -> None:
    if patched:
        patching.install(cpu_patches.PATCHES)
    import mindspore  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from mindformers.core.context.build_context import MFContextOperator  # noqa: PLC0415
    from mindformers.models.llama import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415
    from mindformers.models.qwen3 import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415
    from mindformers.tools.register import MindFormerConfig  # noqa: PLC0415

    mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")
    mindspore.set_seed(1)
    architecture = read_architecture(model)
    keys = inference_config(architecture, "CPU", batch_size=1, sequence_length=LENGTH)
    MFContextOperator(MindFormerConfig(use_legacy=not architecture.newer))
    network = Qwen3ForCausalLM(Qwen3Config(**keys)) if architecture.newer else LlamaForCausalLM(LlamaConfig(**keys))
    network.set_train(False)
    allowed = np.tri(LENGTH, dtype=bool)
    allowed[SECOND_SAMPLE:, :SECOND_SAMPLE] = False
    mask = mindspore.Tensor((~allowed).astype(np.int32)[None, None])  # as the data set gives it: 1 forbids

    def logits(tokens: np.ndarray) -> np.ndarray:
        output = network(input_ids=mindspore.Tensor(tokens), attention_mask=mask)
        return (output if architecture.newer else output[0]).asnumpy().reshape(LENGTH, -1)

    before = np.random.default_rng(0).integers(1, 300, (1, LENGTH)).astype(np.int32)
    after = before.copy()
    after[0, CHANGED] = 0
    change = np.abs(logits(before) - logits(after)).max(axis=-1)
    reach = {
        "earlier": float(change[:CHANGED].max()),
        "own": float(change[CHANGED:SECOND_SAMPLE].max()),
        "other": float(change[SECOND_SAMPLE:].max()),
    }
    print(json.dumps(reach))


if __name__ == "__main__":
    main(Path(sys.argv[1]), patched=sys.argv[2] == "patched")
