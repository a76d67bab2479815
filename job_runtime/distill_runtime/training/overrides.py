"""What a user may lay over the MindFormers YAML: any key but those which the contract has its own fields for or which
resuming depends on.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import LLAMA_CONFIG_SOURCES
from distill_runtime.training.qwen3 import OTHER_NAMES, QWEN3_CONFIG_SOURCES

_OWNED: Final[Mapping[str, str]] = {
    "seed": "training.seed",
    "run_mode": "nothing: the stage always fine-tunes",
    "use_legacy": "nothing: it follows from model_type in the config.json of model.uri",
    "output_dir": "nothing: artifacts have their place on the volume",
    "load_checkpoint": "model.uri",
    "pretrained_model_dir": "model.uri",
    "load_ckpt_format": "nothing: weights are safetensors",
    "use_legacy_format": "nothing: checkpoints are in the layout that the stage resumes from",
    "resume_training": "nothing: the stage resumes by itself",
    "runner_config.epochs": "training.epochs",
    "runner_config.batch_size": "training.batchSize",
    "runner_config.gradient_accumulation_steps": "training.batchSize or parallelism.microBatches",
    "runner_config.sink_size": "nothing: every step is logged",
    "runner_wrapper.local_norm": "nothing: the log has the global norm",
    "calculate_per_token_loss": "nothing: the loss is that of MindFormers' own fine-tuning",
    "lr_schedule.total_steps": "training.maxSteps",
    "train_dataset.batch_size": "training.batchSize",
    "train_dataset_task.dataset_config": "mindformers.train_dataset, of which it is a copy,",
    "micro_batch_interleave_num": "training.batchSize or parallelism.microBatches",
    "train_dataset.data_loader.dataset_path": "datasetRef",
    "use_parallel": "parallelism",
    "parallel.parallel_mode": "parallelism",
    "parallel.full_batch": "parallelism",
    "parallel.dataset_strategy": "parallelism",
    "parallel_config.data_parallel": "parallelism",
    "parallel_config.model_parallel": "parallelism.tensor",
    "parallel_config.pipeline_stage": "parallelism.pipeline",
    "parallel_config.context_parallel": "parallelism.context",
    "parallel_config.use_seq_parallel": "parallelism.sequence",
    "parallel_config.micro_batch_num": "parallelism.microBatches",
    "context.device_target": "accelerator.profile",
    "model.model_config.seq_length": "the dataset's pack.sequenceLength",
    # The trained model is exported under the base's config.json and in its layout of weights. What made the network
    # another one would be trained, and then be lost in the export or be computed differently by every server.
    **{
        f"model.model_config.{key}": f"{source} in the config.json of model.uri, which the exported model keeps,"
        for key, source in {**LLAMA_CONFIG_SOURCES, **QWEN3_CONFIG_SOURCES, **OTHER_NAMES}.items()
    },
    "model.arch": "nothing: the network follows from the config.json of model.uri",
    "model.model_config.qkv_concat": "nothing: query, key and value are exported apart",
    "model.model_config.use_contiguous_weight_layout_attention": "nothing: weights are in the layout that is exported",
    "model.model_config.use_interleaved_weight_layout_mlp": "nothing: weights are in the layout that is exported",
    "model.model_config.pet_config": "training.lora",
    "model.model_config.moe_config": "nothing: mixtures of experts are not exported",
}
"""Keys that overrides may not set, and what to set instead."""


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge deeply: mappings key by key, everything else replaced. Unknown keys go through."""
    merged = deepcopy(dict(base))
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def refuse_owned(overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that would contradict a field of the contract.

    Raises:
        WrongInput: OverrideNotAllowed.
    """
    if refused := sorted(_OWNED.keys() & set(_paths(overrides))):
        instead = "; ".join(f"mindformers.{key}: set {_OWNED[key]} instead" for key in refused)
        raise WrongInput("OverrideNotAllowed", f"these keys cannot be overridden: {instead}")


def refuse_lost_sections(base: Mapping[str, Any], overrides: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse overrides that put something else in the place of a mapping, whose keys MindFormers would then default.

    Raises:
        WrongInput: WrongMindFormersValue.
    """
    for key, value in overrides.items():
        below = base.get(key)
        if not isinstance(below, Mapping):
            continue
        if not isinstance(value, Mapping):
            raise WrongInput(
                "WrongMindFormersValue",
                f"spec.mindformers.{prefix}{key}: must be a mapping, which is merged into what npu-distill writes, not "
                f"{value!r}; leave it out to change nothing",
            )
        refuse_lost_sections(below, value, f"{prefix}{key}.")


def _paths(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
