"""The fine-tuning."""

from typing import Annotated, Literal, get_args

from pydantic import Field, JsonValue

from distill_runtime.contract.base import Parameters
from distill_runtime.contract.identity import OPERATIONAL
from distill_runtime.contract.parameters.fields import Fraction, Uri


class ModelSource(Parameters):
    """Base weights in HuggingFace's files."""

    uri: Uri = Field(
        description="A path on the claim of a directory with config.json, the tokenizer's files and, unless "
        "initialization is random, *.safetensors."
    )
    initialization: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="pretrained loads the weights; random starts from scratch with the architecture of config.json.",
    )


class Recompute(Parameters):
    """What a layer computes again in the backward pass instead of keeping it. On CPU nothing is computed again."""

    layers: Literal["full", "selected", "none"] = Field(
        default="full",
        description="full keeps only each layer's input; selected computes the feed-forward's SiLU and its product "
        "again; none keeps everything.",
    )
    communication: bool = Field(
        default=False,
        description="Gather the inputs of projections over the tensor-parallel group again, in layers that are not "
        "computed again as a whole.",
    )


LoraTarget = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The projections of a layer, by HuggingFace's names."""


class Lora(Parameters):
    """Low-rank adaptation (Hu et al. 2021): a projection W computes (W + alpha/rank B A) x, and only A and B are
    trained."""

    rank: int = Field(default=16, ge=1, le=1024, description="Rows of A and columns of B.")
    alpha: int = Field(default=32, ge=1, le=65536, description="The product of B and A is scaled by alpha / rank.")
    targets: tuple[LoraTarget, ...] = Field(
        default=get_args(LoraTarget),
        min_length=1,
        max_length=7,
        description="Projections of each layer that are adapted, by HuggingFace's names.",
    )


class Training(Parameters):
    """Hyperparameters of the fine-tuning."""

    epochs: int = Field(default=3, ge=1, le=1000, description="Passes over the packed data.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after so many steps, whatever epochs says.")
    batch_size: int = Field(
        default=1,
        ge=1,
        le=65536,
        description="Packed sequences that each data-parallel rank takes in a step (of each micro-batch, "
        "with pipeline parallelism).",
    )
    learning_rate: float = Field(default=5e-5, gt=0, le=1, description="Peak learning rate.")
    final_learning_rate: float = Field(
        default=0.0, ge=0, le=1, description="Learning rate at the end of the schedule; not used by constant."
    )
    learning_rate_schedule: Literal["cosine", "linear", "constant"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    warmup_ratio: Fraction = Field(default=0.1, description="Share of all steps over which the learning rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW's weight decay.")
    adam_betas: tuple[Fraction, Fraction] = Field(default=(0.9, 0.95), description="AdamW's two decay rates.")
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1, description="AdamW's epsilon.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this global norm.")
    seed: int = Field(default=42, ge=0, le=2_147_483_647, description="Seed of initialisation and shuffling.")
    recompute: Recompute = Field(
        default=Recompute(), description="What is computed again in the backward pass: slower, with less memory."
    )
    lora: Lora | None = Field(
        default=None,
        description="Train low-rank adapters, and leave the base weights as they are; without it all weights are "
        "trained.",
    )
    tensorboard: Annotated[bool, OPERATIONAL] = Field(
        default=False, description="Also write the figures of each step as event files of TensorBoard."
    )


class Parallelism(Parameters):
    """How the model is spread over devices; data parallel is devices / (tensor x pipeline x context)."""

    tensor: int = Field(default=1, ge=1, le=1024, description="Devices that share each layer.")
    pipeline: int = Field(default=1, ge=1, le=1024, description="Stages that the layers are split into.")
    context: int = Field(default=1, ge=1, le=1024, description="Devices that share each sequence.")
    context_attention: Literal["whole", "split"] = Field(
        default="whole",
        description="How devices that share a sequence attend over it. whole: each over all of it, sample by sample; "
        "split: each from its own part, with the mask as a matrix, which grows with the square of the sequence.",
    )
    sequence: bool = Field(default=False, description="Sequence parallelism within the tensor-parallel group.")
    micro_batches: int = Field(default=1, ge=1, le=4096, description="Micro-batches of a step, for pipelining.")


ExportedCheckpoint = Literal["last", "best"]


class Checkpoint(Parameters):
    """When training state is saved, and what becomes of it."""

    every_steps: Annotated[int, OPERATIONAL] = Field(default=500, ge=1, description="Steps between two checkpoints.")
    keep: Annotated[int, OPERATIONAL] = Field(
        default=2, ge=1, le=100, description="Checkpoints kept; older ones are deleted."
    )
    export: ExportedCheckpoint = Field(
        default="last",
        description="Whose model is exported: that of the last step, or the best, that with the lowest training loss, "
        "averaged over the everySteps steps up to each checkpoint. The best is kept besides those that keep says.",
    )


MindFormersOverrides = dict[str, JsonValue]
"""Keys of the MindFormers YAML, merged last over what npu-distill writes."""
