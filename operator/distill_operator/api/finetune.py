"""FinetuneRun: packed data and base weights in, fine-tuned weights out."""

from datetime import datetime
from typing import ClassVar

from pydantic import ConfigDict, Field, JsonValue

from distill_operator.api.common import (
    Accelerator,
    Column,
    ObjectReference,
    Resource,
    RunSpec,
    Status,
    message_columns,
    ready_columns,
)
from distill_operator.api.pod_template import resources_of
from distill_operator.api.rules import Rule, immutable, with_rules
from distill_runtime.contract import Checkpoint, Model, ModelSource, Parallelism, Training


class Restarts(Model):
    """What happens when an attempt fails."""

    max: int = Field(
        default=3,
        ge=0,
        le=100,
        description="New attempts in a row after failed ones that saved no further step, each from the last "
        "checkpoint. Those after attempts that did, and after drains, preemptions and lost nodes, do not count.",
    )


class Hyperparameters(Training):
    """Training, with the rule that the schema alone cannot say."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                "self.finalLearningRate <= self.learningRate",
                "finalLearningRate must not exceed learningRate",
                field="finalLearningRate",
            )
        )
    )


class FinetuneRunSpec(RunSpec):
    """What to train. All but suspend, priorityClassName, podTemplate, retry and restarts is fixed at creation."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            *immutable(
                "FinetuneRun",
                "datasetRef",
                "model",
                "training",
                "parallelism",
                "mindformers",
                "accelerator",
                "checkpoint",
                "storage",
            ),
            resources_of("train-preflight", "train", "export"),
            Rule(
                "(self.accelerator.nodes * self.accelerator.devicesPerNode)"
                " % (self.parallelism.tensor * self.parallelism.pipeline * self.parallelism.context) == 0",
                "accelerator.nodes x accelerator.devicesPerNode must be a multiple of "
                "parallelism.tensor x parallelism.pipeline x parallelism.context: change one of them",
                field="parallelism",
            ),
            Rule(
                "self.parallelism.pipeline == 1 || self.parallelism.microBatches >= self.parallelism.pipeline",
                "parallelism.microBatches must be at least parallelism.pipeline, or stages of the pipeline stay idle",
                field="parallelism",
            ),
            Rule(
                "!self.parallelism.sequence || self.parallelism.tensor > 1",
                "parallelism.sequence needs parallelism.tensor of at least 2",
                field="parallelism",
            ),
            Rule(
                "self.parallelism.contextAttention == 'whole' || self.parallelism.context > 1",
                "parallelism.contextAttention split needs parallelism.context of at least 2",
                field="parallelism",
            ),
            Rule(
                "!has(self.training.lora) || self.model.initialization != 'random'",
                "training.lora adapts weights that somebody has trained: set model.initialization to pretrained",
                field="training",
            ),
        )
    )

    dataset_ref: ObjectReference = Field(description="DistillDataset to train on; the run waits until it is Ready.")
    model: ModelSource = Field(description="Base model.")
    training: Hyperparameters = Field(default=Hyperparameters(), description="Hyperparameters.")
    parallelism: Parallelism = Field(default=Parallelism(), description="How the model is spread over the devices.")
    mindformers: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keys of the MindFormers YAML, merged last over the configuration that the operator writes.",
    )
    accelerator: Accelerator = Field(description="Devices to train on.")
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="When training state is saved.")
    restarts: Restarts = Field(default=Restarts(), description="What happens when an attempt fails.")


class FinetuneRunStatus(Status):
    """How it is going, and what came out."""

    memory_per_device: str | None = Field(
        default=None, description="Memory that a device is estimated to need, with communication and what is reserved."
    )
    device_memory: str | None = Field(default=None, description="Memory that a device has, by the profile.")
    epoch: int | None = Field(default=None, description="Pass over the data that it is in, from 1.")
    step: int | None = Field(default=None, description="Optimizer steps done.")
    total_steps: int | None = Field(
        default=None, description="Optimizer steps in all; known from the preflight on, before devices are held."
    )
    global_batch_size: int | None = Field(
        default=None, description="Packed sequences in a step of all devices; known as early."
    )
    loss: float | None = Field(default=None, description="Latest training loss.")
    learning_rate: float | None = Field(default=None, description="Learning rate of the latest step.")
    gradient_norm: float | None = Field(
        default=None, description="Global norm of the latest step's gradients, before they are clipped."
    )
    tokens_per_second: float | None = Field(
        default=None,
        description="Tokens trained on, a second, without padding; of the latest steps while it runs, of a middle one "
        "when it has ended.",
    )
    model_flops_utilization: float | None = Field(
        default=None,
        description="MFU: the share of the devices' peak that the model's own arithmetic takes; absent where the "
        "profile gives no peak.",
    )
    last_checkpoint_step: int | None = Field(
        default=None, description="Steps that a failure now would not cost, since they are saved."
    )
    last_checkpoint_time: datetime | None = Field(default=None, description="When they were saved.")
    restarts: int = Field(default=0, description="Attempts that failed and were followed by another.")
    disruptions: int = Field(
        default=0,
        description="Attempts that ended since a Pod was taken off its node, and were followed by another.",
    )
    lost_steps: int | None = Field(
        default=None, description="Steps that were done again, since the failed attempts had not saved them."
    )


class FinetuneRun(Resource[FinetuneRunSpec, FinetuneRunStatus]):
    """A fine-tuning of a base model on a DistillDataset."""

    plural: ClassVar[str] = "finetuneruns"
    short_names: ClassVar[tuple[str, ...]] = ("ftr",)
    summary: ClassVar[str] = (
        "A FinetuneRun trains a base model on a DistillDataset with MindSpore and MindFormers "
        "and writes HuggingFace weights."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        *ready_columns(),
        Column(name="Loss", json_path=".status.loss", type="number", description="Latest training loss."),
        Column(
            name="Tokens/s", json_path=".status.tokensPerSecond", type="number", description="Tokens trained a second."
        ),
        Column(
            name="MFU",
            json_path=".status.modelFlopsUtilization",
            type="number",
            description="Share of the devices' peak that the model takes.",
            priority=1,
        ),
        Column(name="Restarts", json_path=".status.restarts", type="integer", description="Attempts that failed."),
        Column(
            name="Saved",
            json_path=".status.lastCheckpointTime",
            type="date",
            description="Time since the last checkpoint.",
            priority=1,
        ),
        Column(
            name="Steps",
            json_path=".status.totalSteps",
            type="integer",
            description="Optimizer steps in all.",
            priority=1,
        ),
        Column(
            name="Batch",
            json_path=".status.globalBatchSize",
            type="integer",
            description="Packed sequences in a step.",
            priority=1,
        ),
        *message_columns(),
    )

    status: FinetuneRunStatus = Field(default_factory=FinetuneRunStatus)
