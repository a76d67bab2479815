"""FinetuneRuns that cannot work: each is refused before a device is asked for, and says which key to change.

A row goes the way that a manifest goes, and must be stopped by one of these, with its reason:

- `Refused`, by the API server: what the schema says. Its rules in CEL are asked of a real API server, in tests/e2e.
- the operator, which plans it;
- the preflight: by what this project checks itself, or by MindFormers, which looks at all that got so far in one go.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.student import pack_samples, write_student, write_weights
from unit.operator.builders import SETTINGS, known, resource

from distill_operator.api import FinetuneRun
from distill_operator.api.finetune import FinetuneRunSpec
from distill_operator.plan import finetune
from distill_operator.plan.stages import Invalid, Stage
from distill_runtime.contract import TrainContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.storage.volume import Volume
from distill_runtime.training.findings import find, refuse
from distill_runtime.training.inputs import open_inputs
from distill_runtime.training.looking_ahead import first_configuration

pytestmark = pytest.mark.mindspore

RIGHT: dict[str, Any] = {
    "datasetRef": {"name": "math"},
    "model": {"uri": "student", "initialization": "random"},
    "training": {"epochs": 2},
    "parallelism": {"tensor": 2, "pipeline": 2, "context": 1, "microBatches": 2},
    "accelerator": {"profile": "ascend-910b", "nodes": 1, "devicesPerNode": 4},
    "storage": {"claimName": "distill"},
}
"""Student and data: 2 layers, 4 heads, 2 heads of keys and values, 128 tokens a sequence."""


@dataclass(frozen=True)
class Wrong:
    """A mistake.

    Attributes:
        reason: by which it is known.
        said: the key to change, and what would do, as the message has them.
        spec: what is wrong in the spec.
    """

    reason: str
    said: str
    spec: dict[str, Any] = field(default_factory=dict)


def override(**sections: Any) -> dict[str, Any]:
    return {"mindformers": sections}


def model(**keys: Any) -> dict[str, Any]:
    return override(model={"model_config": keys})


WRONG: dict[str, Wrong] = {
    # What the schema says.
    "no dataset": Wrong("Refused", "datasetRef", {"datasetRef": None}),
    "a misspelt field": Wrong("Refused", "training.learningrate", {"training": {"learningrate": 1e-5}}),
    "no epoch": Wrong("Refused", "training.epochs", {"training": {"epochs": 0}}),
    "a learning rate in words": Wrong("Refused", "training.learningRate", {"training": {"learningRate": "fast"}}),
    "a learning rate above 1": Wrong("Refused", "training.learningRate", {"training": {"learningRate": 5}}),
    "a warm-up longer than the run": Wrong("Refused", "training.warmupRatio", {"training": {"warmupRatio": 10}}),
    "an unknown schedule": Wrong(
        "Refused", "training.learningRateSchedule", {"training": {"learningRateSchedule": "cosin"}}
    ),
    "one beta": Wrong("Refused", "training.adamBetas", {"training": {"adamBetas": [0.9]}}),
    "no device of a layer": Wrong("Refused", "parallelism.tensor", {"parallelism": {"tensor": 0}}),
    "half a device": Wrong("Refused", "accelerator.devicesPerNode", {"accelerator": {"devicesPerNode": 0.5}}),
    "no checkpoint kept": Wrong("Refused", "checkpoint.keep", {"checkpoint": {"keep": 0}}),
    "overrides as text": Wrong("Refused", "mindformers", {"mindformers": "context.mode=0"}),
    # What the cluster does not have.
    "an unknown profile": Wrong("UnknownProfile", "accelerator.profile 'tpu'", {"accelerator": {"profile": "tpu"}}),
    "more devices than a node has": Wrong(
        "TooManyDevices", "accelerator.devicesPerNode", {"accelerator": {"devicesPerNode": 16}}
    ),
    # What is on the claim.
    "no model": Wrong("ModelConfigMissing", "model.uri must be a directory", {"model": {"uri": "nowhere"}}),
    "a model outside the claim": Wrong("PathOutsideVolume", "'../elsewhere'", {"model": {"uri": "../elsewhere"}}),
    "a mixture of experts": Wrong("UnsupportedModel", "qwen3_moe is a mixture", {"model": {"uri": "experts"}}),
    "no weights": Wrong(
        "WeightsMissing", "set model.initialization to random", {"model": {"initialization": "pretrained"}}
    ),
    "weights of another shape": Wrong(
        "WeightsMismatch", "config.json", {"model": {"uri": "reshaped", "initialization": "pretrained"}}
    ),
    "an embedding that is too small": Wrong(
        "VocabularyTooSmall", "take both from the same model", {"model": {"uri": "narrow"}}
    ),
    "too few positions": Wrong("SequenceTooLong", "pack.sequenceLength", {"model": {"uri": "short"}}),
    "less room than the checkpoints take": Wrong("ClaimTooSmall", "lower checkpoint.keep", {"model": {"uri": "huge"}}),
    # Arithmetic.
    "devices that make no whole groups": Wrong(
        "ParallelismMismatch", "change parallelism, or accelerator.nodes", {"parallelism": {"tensor": 2, "context": 4}}
    ),
    "heads that cannot be shared": Wrong(
        "HeadsNotDivisible",
        "num_key_value_heads 2, which parallelism.tensor 4 does not divide",
        {"parallelism": {"tensor": 4, "pipeline": 1}},
    ),
    "heads that ulysses cannot share": Wrong(
        "HeadsNotDivisible",
        "spec.mindformers.parallel_config.context_parallel_algo",
        {
            "parallelism": {"context": 2, "pipeline": 1},
            **override(parallel_config={"context_parallel_algo": "ulysses_cp"}),
        },
    ),
    "a width that cannot be shared": Wrong("WidthNotDivisible", "parallelism.tensor 2", {"model": {"uri": "odd"}}),
    "layers that cannot be shared": Wrong(
        "LayersNotDivisible", "parallelism.pipeline 4", {"parallelism": {"tensor": 1, "pipeline": 4, "microBatches": 4}}
    ),
    "an idle stage": Wrong("TooFewMicroBatches", "parallelism.microBatches 1", {"parallelism": {"microBatches": 1}}),
    "sequences that cannot be cut": Wrong(
        "SequenceNotDivisible",
        "pack.sequenceLength that is a multiple of 48",
        {"parallelism": {"tensor": 1, "pipeline": 1, "context": 3}, "accelerator": {"devicesPerNode": 3}},
    ),
    "context parallelism without flash attention": Wrong(
        "ContextNeedsFlashAttention",
        "spec.mindformers.model.model_config.use_flash_attention",
        {"parallelism": {"pipeline": 1, "context": 2}, **model(use_flash_attention=False)},
    ),
    "fewer sequences than a step takes": Wrong(
        "DatasetTooSmall", "lower training.batchSize", {"training": {"batchSize": 1000}}
    ),
    "a learning rate that does not fall": Wrong(
        "LearningRateRises",
        "training.finalLearningRate",
        {"training": {"learningRate": 1e-5, "finalLearningRate": 1e-5}},
    ),
    "tensor parallelism on CPU": Wrong("UnsupportedOnCpu", "parallelism.tensor", {"accelerator": {"profile": "cpu"}}),
    # Keys that have a field of their own.
    "epochs by override": Wrong("OverrideNotAllowed", "set training.epochs", override(runner_config={"epochs": 1})),
    "devices by override": Wrong(
        "OverrideNotAllowed", "set parallelism.tensor", override(parallel_config={"model_parallel": 4})
    ),
    "interleaved micro-batches": Wrong(
        "OverrideNotAllowed", "set training.batchSize or parallelism", override(micro_batch_interleave_num=2)
    ),
    "the copy of the data set": Wrong(
        "OverrideNotAllowed",
        "set mindformers.train_dataset",
        override(train_dataset_task={"dataset_config": {"num_parallel_workers": 8}}),
    ),
    "an adapter": Wrong("OverrideNotAllowed", "pet_config", model(pet_config={"pet_type": "lora"})),
    # Keys that MindFormers does not know.
    "a misspelt degree": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.parallel_config.expert_paralel: there is no such key (did you mean expert_parallel?)",
        override(parallel_config={"expert_paralel": 2}),
    ),
    "a misspelt runner": Wrong("UnknownMindFormersKey", "sink_mode?", override(runner_config={"sink_mod": True})),
    "half a name": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.recompute_config.recompute_slice:",
        override(recompute_config={"recompute_slice": True}),
    ),
    "a misspelt section": Wrong("UnknownMindFormersKey", "recompute_config?", override(recompte_config={})),
    "a key at the wrong level": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.weight_decay: there is no such key (did you mean optimizer.weight_decay?)",
        override(weight_decay=0.1),
    ),
    "a misspelt key of the model": Wrong(
        "UnknownMindFormersKey", "model.model_config.compute_dtyp:", model(compute_dtyp="float16")
    ),
    "a misspelt key of the context": Wrong(
        "UnknownMindFormersKey", "max_device_memory?", override(context={"max_device_memry": "59GB"})
    ),
    "a misspelt key of the parallel context": Wrong(
        "UnknownMindFormersKey", "enable_parallel_optimizer?", override(parallel={"enable_paralel_optimizer": True})
    ),
    "a misspelt key of the data set": Wrong(
        "UnknownMindFormersKey", "num_parallel_workers?", override(train_dataset={"num_paralel_workers": 8})
    ),
    "a misspelt key of the loader": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.train_dataset.data_loader.shufle: there is no such key (did you mean shuffle?)",
        override(train_dataset={"data_loader": {"shufle": False}}),
    ),
    "a misspelt key of the optimizer": Wrong("UnknownMindFormersKey", "betas?", override(optimizer={"beta": [0.9]})),
    "a misspelt key of the schedule": Wrong(
        "UnknownMindFormersKey", "warmup_steps?", override(lr_schedule={"warmup_step": 10})
    ),
    "a misspelt key of the wrapper": Wrong(
        "UnknownMindFormersKey", "max_grad_norm?", override(runner_wrapper={"max_grad_nrm": 1.0})
    ),
    "a misspelt key of a callback": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.callbacks[0].per_print_time: there is no such key (did you mean per_print_times?)",
        override(callbacks=[{"type": "MFLossMonitor", "per_print_time": 10}]),
    ),
    # Classes that MindFormers does not have.
    "no such callback": Wrong(
        "UnknownMindFormersKey", "MFLossMonitor?", override(callbacks=[{"type": "MFLossMonitr"}])
    ),
    "no such optimizer": Wrong("UnknownMindFormersKey", "AdamW?", override(optimizer={"type": "AdamWW"})),
    "no such schedule": Wrong(
        "UnknownMindFormersKey", "CosineWithWarmUpLR?", override(lr_schedule={"type": "CosineWarmUpLR"})
    ),
    "no such loss scale": Wrong(
        "UnknownMindFormersKey",
        "spec.mindformers.runner_wrapper.scale_sense.type",
        override(runner_wrapper={"scale_sense": {"type": "DynamicLossScale"}}),
    ),
    # Values that MindFormers and MindSpore do not take.
    "a misspelt algorithm": Wrong(
        "WrongMindFormersValue",
        "spec.mindformers.parallel_config.context_parallel_algo",
        override(parallel_config={"context_parallel_algo": "hybird_cp"}),
    ),
    "a dtype by its short name": Wrong(
        "WrongMindFormersValue", "spec.mindformers.model.model_config.compute_dtype", model(compute_dtype="bf16")
    ),
    "memory in the wrong unit": Wrong(
        "WrongMindFormersValue",
        "spec.mindformers.context.max_device_memory",
        override(context={"max_device_memory": "59G"}),
    ),
    "a misspelt precision, which only an NPU has": Wrong(
        "WrongMindFormersValue",
        "must_keep_origin_dtype?",
        override(context={"ascend_config": {"precision_mode": "must_keep_origin_dtyp"}}),
    ),
    "an unknown level of compilation": Wrong(
        "WrongMindFormersValue",
        "spec.mindformers.context.jit_config.jit_level",
        override(context={"jit_config": {"jit_level": "O5"}}),
    ),
    "a search that does not exist": Wrong(
        "WrongMindFormersValue", "spec.mindformers.parallel.search_mode", override(parallel={"search_mode": "sharding"})
    ),
    "a section that is emptied": Wrong(
        "WrongMindFormersValue", "spec.mindformers.optimizer: must be a mapping", override(optimizer=None)
    ),
    "recomputed layers of more stages than there are": Wrong(
        "WrongMindFormersValue",
        "spec.mindformers.recompute_config.recompute",
        override(recompute_config={"recompute": [1, 1, 1]}),
    ),
}


def manifest(spec: dict[str, Any]) -> dict[str, Any]:
    """Give the spec of the run that is right, with what is wrong; a field that is None is left out."""
    merged = copy.deepcopy(RIGHT)
    for name, value in spec.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    return {name: value for name, value in merged.items() if value is not None}


@dataclass(frozen=True)
class Outcome:
    """How a manifest was stopped; without a reason it was not."""

    reason: str = ""
    message: str = ""


class Cluster:
    """What stops a manifest: the schema, the operator, the preflight on a claim."""

    def __init__(self, root: Path) -> None:
        write_student(root / "student")
        for name, changes in {
            "experts": {"model_type": "qwen3_moe"},
            "narrow": {"vocab_size": 100},
            "short": {"max_position_embeddings": 64},
            "odd": {"intermediate_size": 63},
            "huge": {"hidden_size": 65536, "num_hidden_layers": 2000},
            "reshaped": {},
        }.items():
            write_student(root / name, **changes)
        write_weights(root / "reshaped")
        write_student(root / "reshaped", hidden_size=64)
        self.volume = Volume(root)
        self.dataset = pack_samples(self.volume, 60)

    def stop(self, spec: dict[str, Any]) -> Outcome | tuple[TrainContract, dict[str, Any]]:
        """Give what stops it before MindFormers is asked, or the YAML that is left to look at."""
        try:
            FinetuneRunSpec.model_validate(spec)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
            return Outcome("Refused", places)
        run = resource("FinetuneRun", spec)
        assert isinstance(run, FinetuneRun)
        stage = finetune.plan_stage(run, "train-preflight", {}, known("FinetuneRun"), SETTINGS)
        if isinstance(stage, Invalid):
            return Outcome(stage.reason, stage.message)
        assert isinstance(stage, Stage)
        assert stage.devices == 0
        contract = stage.contract
        assert isinstance(contract, TrainContract)
        contract = contract.model_copy(update={"dataset": self.dataset})
        try:
            return contract, first_configuration(contract, open_inputs(contract, self.volume), self.volume)
        except WrongInput as error:
            return Outcome(error.reason, error.message)

    def stop_all(self, specs: dict[str, dict[str, Any]]) -> dict[str, Outcome]:
        """Stop each by whatever comes first."""
        stopped = {name: self.stop(spec) for name, spec in specs.items()}
        outcomes = {name: outcome for name, outcome in stopped.items() if isinstance(outcome, Outcome)}
        left = {name: outcome for name, outcome in stopped.items() if not isinstance(outcome, Outcome)}
        found = find([configuration for _, configuration in left.values()])
        for (name, (contract, _)), findings in zip(left.items(), found, strict=True):
            try:
                refuse(findings, contract.mindformers)
                outcomes[name] = Outcome()
            except WrongInput as error:
                outcomes[name] = Outcome(error.reason, error.message)
        return outcomes


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    cluster = Cluster(tmp_path_factory.mktemp("claim"))
    return cluster.stop_all({"right": RIGHT, **{name: manifest(wrong.spec) for name, wrong in WRONG.items()}})


def test_what_is_right_is_stopped_by_nothing(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["right"] == Outcome()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_stopped_by_a_word_that_helps(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].reason == WRONG[name].reason, outcomes[name]
    assert WRONG[name].said in outcomes[name].message


def test_there_are_enough_mistakes() -> None:
    assert len(WRONG) >= 50
