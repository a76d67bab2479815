"""The MindFormers YAML of a run: a pure function of the contract, the architecture and the schedule.

The same settings as MindFormers' own fine-tuning YAMLs, minus the keys that only repeat a default. What the device
target changes is in one place each: `_CPU` and `_ASCEND`. Overrides are merged last and win (`overrides`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_runtime.contract import Recompute, TrainContract
from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.packing.description import IGNORED_LABEL
from distill_runtime.training.architecture import Architecture, llama_config
from distill_runtime.training.lora import pet_config
from distill_runtime.training.overrides import merge, refuse_lost_sections, refuse_owned
from distill_runtime.training.qwen3 import QWEN3_KINDS, QWEN3_PRECISE, qwen3_config
from distill_runtime.training.schedule import Schedule

_SELECTED: Final = (
    r"feed_forward\.mul",
    r"feed_forward\.w1\.activation\.silu",
    r"feed_forward\.w1\.reshape",
    r"feed_forward\.w2\.reshape",
)
"""SiLU and the product after it, with the reshapes between them and before the next projection. `true` stands for the
first two, which saves nothing in a network of the older kind: what the reshapes give is kept then (MindFormers'
performance guide, "Silu-Mul Recomputation Not in Effect"). Its recipes for Qwen2.5 name these four."""

_CPU_MODEL: Final[Mapping[str, Any]] = {
    "compute_dtype": "float32",
    "rotary_dtype": "float32",
    # No fused kernel, no flash attention and no half precision on CPU; slicing is how RoPE runs without its own kernel.
    "use_flash_attention": False,
    "fused_rms_norm": False,
    "use_rope_slice": True,
}
_ASCEND_MODEL: Final[Mapping[str, Any]] = {
    "compute_dtype": "bfloat16",
    "rotary_dtype": "float32",
    "use_flash_attention": True,
    "fused_rms_norm": True,
}
_PRECISE: Final[Mapping[str, Any]] = {
    "param_init_type": "float32",
    "layernorm_compute_type": "float32",
    "softmax_compute_type": "float32",
}
_COMPRESSED_MASK_TOKENS: Final = 2048
"""MindFormers takes the attention mask as the ends of the samples from this length on (modules/transformer/
transformer.py, 1.8), and refuses to build the network for shorter sequences."""
_SCHEDULES: Final[Mapping[str, str]] = {
    "cosine": "CosineWithWarmUpLR",
    "linear": "PolynomialWithWarmUpLR",
    "constant": "ConstantWarmUpLR",
}


@dataclass(frozen=True)
class TrainingData:
    """The packed data that a configuration is written for.

    Attributes:
        path: directory for `datasets.load_from_disk`, with input_ids, labels and actual_seq_len.
        sequence_length: tokens in each sequence.
    """

    path: Path
    sequence_length: int


@dataclass(frozen=True)
class InitialState:
    """Where training starts from.

    Attributes:
        path: weights or a checkpoint as MindFormers loads it; None for random initialization.
        resume: MindFormers' resume_training: False for weights, True for a checkpoint of one worker, the name of the
            first worker's file for one of several. (With True, MindFormers looks for a meta.json of its own.)
        reshard: whether it is whole weights that each device takes its part of.
    """

    path: Path | None = None
    resume: bool | str = False
    reshard: bool = False


def compresses_mask(contract: TrainContract, architecture: Architecture, sequence_length: int) -> bool:
    """Tell whether the attention mask is given as the ends of the samples, rather than as a matrix.

    As a matrix, that of 32k tokens takes 4 GiB. It is one where that was asked for, since only then does MindFormers'
    older network divide the queries among devices that share a sequence (modules/flash_attention.py, 1.8: TND is
    divided by data and tensor only); and where MindFormers does not take the ends, when it takes less than 16 MiB. The
    newer network divides them with the ends, too.
    """
    parallelism = contract.parallelism
    if parallelism.context > 1 and parallelism.context_attention == "split" and not architecture.newer:
        return False
    return contract.device_target == "Ascend" and sequence_length >= _COMPRESSED_MASK_TOKENS


def build_configuration(
    contract: TrainContract,
    architecture: Architecture,
    schedule: Schedule,
    data: TrainingData,
    start: InitialState,
    output: Path,
    cpus: int,
) -> dict[str, Any]:
    """Give the content of the YAML.

    Args:
        cpus: processors that this node's workers may use together. Left alone, MindSpore starts a thread for each
            that the machine has, whatever the container's limit.
        output: directory in which MindFormers keeps what it writes itself, such as its parallel strategy.

    Raises:
        WrongInput: OverrideNotAllowed, for an override of a key that has its own field; WrongMindFormersValue, for one
            that would do away with a mapping; LearningRateRises; AdaptersNotSupported.
    """
    refuse_owned(contract.mindformers)
    training, parallelism = contract.training, contract.parallelism
    ascend = contract.device_target == "Ascend"
    compressed = compresses_mask(contract, architecture, data.sequence_length)
    distributed = schedule.devices > 1
    # Columns are matched to the network's arguments by name; only the last one depends on how the mask is given.
    columns = ["input_ids", "labels", "loss_mask", "position_ids", "actual_seq_len" if compressed else "attention_mask"]
    dataset: dict[str, Any] = {
        "input_columns": columns,
        "construct_args_key": columns,
        "num_parallel_workers": 1,
        "python_multiprocessing": False,
        "drop_remainder": True,
        "batch_size": training.batch_size,
        "repeat": 1,
        "numa_enable": False,
        "prefetch_size": 1,
        "data_loader": {
            "type": "HFDataLoader",
            "shuffle": True,
            "load_func": "load_from_disk",
            "dataset_path": str(data.path),
            # What makes it take the sequences for packed ones, however the mask is given.
            "create_attention_mask": True,
            "create_compressed_eod_mask": compressed,
            # Every worker reads what it needs from the files; otherwise some would be sent it by others.
            "use_broadcast_data": False,
        },
    }
    configuration: dict[str, Any] = {
        "seed": training.seed,
        "run_mode": "finetune",
        "use_legacy": not architecture.newer,
        "output_dir": str(output),
        "load_checkpoint": "" if start.path is None else str(start.path),
        "load_ckpt_format": "safetensors",
        "auto_trans_ckpt": start.reshard,
        "only_save_strategy": False,
        "resume_training": start.resume,
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": architecture.model_type},
        "runner_config": {
            "epochs": schedule.epochs,
            "batch_size": training.batch_size,
            "gradient_accumulation_steps": 1,
            **({"sink_mode": True, "sink_size": 1} if ascend else {"sink_mode": False}),
        },
        "runner_wrapper": {
            "type": "MFTrainOneStepCell",
            "scale_sense": 1.0,
            "use_clip_grad": True,
            "max_grad_norm": training.max_grad_norm,
        },
        "optimizer": {
            "type": "AdamW",
            "betas": list(training.adam_betas),
            "eps": training.adam_epsilon,
            "learning_rate": training.learning_rate,
            "weight_decay": training.weight_decay,
        },
        "lr_schedule": _learning_rate_schedule(contract, schedule),
        "train_dataset": dataset,
        "train_dataset_task": {"type": "CausalLanguageModelDataset"},
        "use_parallel": distributed,
        "parallel": {
            "parallel_mode": 1 if ascend and distributed else 0,  # 1 semi-automatic, 0 data parallel
            "gradients_mean": not ascend,
            "full_batch": ascend and distributed,
            # Told nothing, MindFormers takes packed data to be read in shards (trainer/base_trainer.py, 1.8).
            **({"dataset_strategy": "full_batch"} if ascend and distributed else {}),
            "enable_alltoall": False,
            "search_mode": "sharding_propagation",
            # It shares out what would be whole on several devices: those of data and of context parallelism.
            "enable_parallel_optimizer": ascend and distributed,
            **({"parallel_optimizer_config": _parallel_optimizer(contract)} if ascend and distributed else {}),
            "strategy_ckpt_save_file": str(output / "strategy.ckpt"),
        },
        "parallel_config": {
            "data_parallel": schedule.data_parallel,
            "model_parallel": parallelism.tensor,
            "pipeline_stage": parallelism.pipeline,
            "context_parallel": parallelism.context,
            "use_seq_parallel": parallelism.sequence,
            "micro_batch_num": parallelism.micro_batches,
            "vocab_emb_dp": not ascend and not architecture.newer,  # the newer networks know of no such thing
            "gradient_aggregation_group": 4,
        },
        "micro_batch_interleave_num": 1,
        # Of dense networks there is one loss; of a pipeline's, MindFormers 1.8 would divide that of experts by zero.
        **({"print_separate_loss": False} if architecture.newer else {}),
        "recompute_config": _recompute(training.recompute, architecture) if ascend else {"recompute": False},
        "callbacks": [],
        "context": {
            "mode": 0,
            "device_target": contract.device_target,
            "max_call_depth": 10000,
            "jit_config": {"jit_level": "O1" if ascend else "O0"},
            # O1 plans where tensors lie for the least memory, as in MindFormers' templates for dense models.
            **(
                {"memory_optimize_level": "O1"}
                if ascend
                else {"runtime_num_threads": max(1, cpus // contract.devices_per_node)}
            ),
        },
        "model": _model(contract, architecture, data, compressed),
    }
    refuse_lost_sections(configuration, contract.mindformers)
    merged = merge(configuration, contract.mindformers)
    # Named twice in every MindFormers YAML; it must say the same, overrides included.
    merged["train_dataset_task"]["dataset_config"] = merged["train_dataset"]
    return merged


def inference_config(
    architecture: Architecture, device_target: DeviceTarget, batch_size: int, sequence_length: int
) -> dict[str, Any]:
    """Give the model_config of a network that predicts, with the arithmetic that it was trained with.

    Args:
        sequence_length: of the mask that the network makes for itself, a matrix; sequences that come with one of their
            own may have any length that the model has positions for.
    """
    keys = _network(architecture, device_target) | {"batch_size": batch_size, "seq_length": sequence_length}
    return keys if architecture.newer else keys | {"qkv_concat": False, "use_past": False}


def _model(contract: TrainContract, architecture: Architecture, data: TrainingData, compressed: bool) -> dict[str, Any]:
    """Give the section of the network.

    Args:
        compressed: whether the attention mask is given as the ends of the samples.

    Raises:
        WrongInput: AdaptersNotSupported.
    """
    keys = _network(architecture, contract.device_target) | {
        "use_eod_attn_mask_compression": compressed,
        "batch_size": contract.training.batch_size,
        "seq_length": data.sequence_length,
        "ignore_token_id": IGNORED_LABEL,
    }
    lora = contract.training.lora
    if architecture.newer:
        if lora is not None:
            raise WrongInput(
                "AdaptersNotSupported",
                f"training.lora adapts Qwen2, Qwen2.5 and Llama; model.uri is a {architecture.model_type}, whose "
                "network has other layers: leave training.lora out, or take another model",
            )
        return {"model_config": keys}
    older = {
        "qkv_concat": False,
        "use_past": False,
        # Labels are shifted by one when they are packed, so the network must not shift them again.
        "input_sliced_sig": True,
        **({} if lora is None else {"pet_config": pet_config(lora)}),
    }
    return {"arch": {"type": "LlamaForCausalLM"}, "model_config": keys | older}


def _network(architecture: Architecture, device_target: DeviceTarget) -> dict[str, Any]:
    """Give what of model_config the architecture decides, and the arithmetic."""
    if architecture.newer:
        return {**qwen3_config(architecture), **QWEN3_KINDS[device_target], **QWEN3_PRECISE}
    return {**llama_config(architecture), **(_ASCEND_MODEL if device_target == "Ascend" else _CPU_MODEL), **_PRECISE}


def _parallel_optimizer(contract: TrainContract) -> dict[str, Any]:
    """Give how the optimizer's states are shared out.

    Gradients that a pipeline adds up are not, as in MindFormers' recipes: it costs a ReduceScatter a micro-batch. That
    key is left out beside an `optimizer_level` of the user's, which says the same and MindSpore may refuse with it.
    """
    overrides = contract.mindformers.get("parallel")
    options = overrides.get("parallel_optimizer_config") if isinstance(overrides, Mapping) else None
    levelled = isinstance(options, Mapping) and "optimizer_level" in options
    return {
        **({} if levelled else {"gradient_accumulation_shard": False}),
        "parallel_optimizer_threshold": 64,  # KiB; smaller parameters stay whole
    }


def _recompute(recompute: Recompute, architecture: Architecture) -> dict[str, Any]:
    """Give the keys that MindFormers 1.8 goes by; mp_comm_recompute is none, as its LayerSetting does not read it."""
    selected: bool | list[str] = recompute.layers == "selected"
    return {
        "recompute": recompute.layers == "full",
        "select_recompute": list(_SELECTED) if selected and not architecture.newer else selected,
        "select_comm_recompute": recompute.communication,
    }


def _learning_rate_schedule(contract: TrainContract, schedule: Schedule) -> dict[str, Any]:
    """Give the learning rate's course; steps are spelled out so that it does not depend on how epochs are counted."""
    training = contract.training
    decays = training.learning_rate_schedule != "constant"
    if decays and training.final_learning_rate >= training.learning_rate:
        raise WrongInput(
            "LearningRateRises",
            f"training.finalLearningRate {training.final_learning_rate} is not below training.learningRate "
            f"{training.learning_rate}; lower it, or set learningRateSchedule to constant",
        )
    keys: dict[str, Any] = {
        "type": _SCHEDULES[training.learning_rate_schedule],
        "learning_rate": training.learning_rate,
        "warmup_steps": schedule.warmup_steps,
        "total_steps": schedule.total_steps,
    }
    if decays:
        keys["lr_end"] = training.final_learning_rate
    return keys
