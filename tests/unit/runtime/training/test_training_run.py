"""The msrun stage with real MindFormers on a CPU: trained, killed, resumed, exported."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.qwen2_reference import next_token_logits
from support.student import QWEN3, train_contract, write_student, write_weights
from support.workplace import Workplace, assert_moved_a_little, load_halves, to_halves, write_halves

from distill_runtime.contract import Checkpoint, Lora, ModelSource, Result, Training
from distill_runtime.storage.artifact import open_artifact, verify_content
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.weight_names import expected_shapes

pytestmark = pytest.mark.mindspore

RARELY = Checkpoint(every_steps=10, keep=9)
NOT_AN_ARTIFACT = shutil.ignore_patterns("manifest.json")
"""What is changed in a copy is not what its manifest says."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="module")
def trained(workplace: Workplace) -> Result:
    training = Training(epochs=2, batch_size=4, learning_rate=1e-2, tensorboard=True)
    return workplace.run(train_contract(workplace.dataset, training=training))


def test_training_learns_and_its_artifact_is_whole(workplace: Workplace, trained: Result) -> None:
    assert trained.artifact is not None
    directory, manifest = open_artifact(workplace.volume, trained.artifact)
    verify_content(directory, manifest)
    losses = [loss for _, loss in workplace.losses("trained")]
    steps = trained.counts["steps"]
    assert [step for step, _ in workplace.losses("trained")] == list(range(1, steps + 1))
    assert losses[-1] < losses[0] - 0.5
    assert trained.metrics["resumedFromStep"] == trained.metrics["lostSteps"] == 0
    assert (directory / "mindformers.yaml").is_file()
    assert f"Trained: {steps} steps, 2 epochs." in (directory / "training-report.html").read_text()
    assert list(directory.glob("tensorboard/events.out.tfevents.*"))
    assert trained.metrics["tokensPerSecond"] > 0
    assert not (workplace.root / "trained.work").exists()
    assert {"mindspore", "mindformers"} <= manifest.versions.keys()


def test_the_export_has_huggingface_names_and_shapes(workplace: Workplace, trained: Result) -> None:
    weights = load_file(workplace.root / "trained" / "model.safetensors")
    expected = expected_shapes(read_architecture(workplace.root / "student"))
    assert {name: array.shape for name, array in weights.items()} == expected
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (workplace.root / "trained" / name).is_file()


@pytest.fixture(scope="module")
def halves(workplace: Workplace, trained: Result) -> Path:
    """The trained model in bfloat16, as most base models are."""
    target = workplace.root / "halves"
    shutil.copytree(workplace.root / "trained", target, ignore=NOT_AN_ARTIFACT)
    to_halves(target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    return target


@pytest.fixture(scope="module")
def qwen3(workplace: Workplace) -> list[tuple[int, float]]:
    """The losses of a Qwen3 that was trained from weights in bfloat16, killed and resumed."""
    write_halves(workplace.root / "qwen3-base", **QWEN3)
    training = Training(epochs=8, batch_size=4, learning_rate=1e-3)
    contract = train_contract(
        workplace.dataset, output="qwen3", model=ModelSource(uri="qwen3-base"), training=training, checkpoint=RARELY
    )
    return workplace.kill_and_resume(contract)


def test_qwen3_is_trained_by_a_newer_network_and_goes_on_with_the_same_losses(
    workplace: Workplace, qwen3: list[tuple[int, float]]
) -> None:
    assert qwen3[-1][1] < qwen3[0][1] - 0.05
    assert_moved_a_little(workplace.root / "qwen3", workplace.root / "qwen3-base")


@pytest.fixture(scope="module")
def adapted(workplace: Workplace, trained: Result) -> list[tuple[int, float]]:
    """The losses of adapters that were trained on the trained model, killed and resumed."""
    training = Training(epochs=8, batch_size=4, learning_rate=1e-2, lora=Lora(rank=4, alpha=8))
    contract = train_contract(
        workplace.dataset, output="adapted", model=ModelSource(uri="trained"), training=training, checkpoint=RARELY
    )
    return workplace.kill_and_resume(contract)


def test_adapters_are_trained_on_weights_that_stay_and_exported_within_them_and_alone(
    workplace: Workplace, adapted: list[tuple[int, float]]
) -> None:
    assert adapted[-1][1] < adapted[0][1] < workplace.losses("trained")[0][1] - 0.5  # it began with the base's weights
    base, exported, adapter = (
        load_file(workplace.root / file)
        for file in (
            "trained/model.safetensors",
            "adapted/model.safetensors",
            "adapted/adapter/adapter_model.safetensors",
        )
    )
    modules = {name: f"base_model.model.{name.removesuffix('.weight')}" for name in base}
    changed = {name: module for name, module in modules.items() if f"{module}.lora_A.weight" in adapter}
    assert len(changed) == 7 * 2
    assert len(adapter) == 2 * len(changed)
    expected = base | {
        name: base[name] + 2 * (adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"])
        for name, module in changed.items()
    }
    for name, weight in expected.items():
        assert exported[name] == pytest.approx(weight, abs=1e-6)


SEQUENCES = [*np.random.default_rng(0).integers(1, 300, (2, 40)).tolist(), [5, 6, 7]]


@pytest.fixture(scope="module")
def served(workplace: Workplace, halves: Path, adapted: object, qwen3: object) -> dict[str, NDArray[np.float32]]:
    """What the network that serves computes for each model: the logits of the tokens after some sequences."""
    script = (
        "import json, sys; from pathlib import Path; from distill_runtime.training import cpu_patches, patching\n"
        "patching.install(cpu_patches.PATCHES)\n"
        "from distill_runtime.serving.network import Network\n"
        "sequences = json.loads(sys.argv[1])\n"
        "logits = {model: Network(Path(model), 'CPU', 4).next_logits(sequences).tolist() for model in sys.argv[2:]}\n"
        "print(json.dumps(logits))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, json.dumps(SEQUENCES), *SERVED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(workplace.root)},
        cwd=workplace.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {model: np.array(logits) for model, logits in json.loads(child.stdout.splitlines()[-1]).items()}


SERVED: dict[str, Callable[[Path], dict[str, NDArray[np.float32]]]] = {
    "trained": load_file,
    "halves": load_halves,
    "adapted": load_file,
    "qwen3": load_halves,
}
"""Models, and what reads their weights. One process has them all; a newer network makes it one for newer ones."""


@pytest.mark.parametrize("model", SERVED)
def test_served_again_it_computes_what_huggingface_s_qwen_computes(
    workplace: Workplace, served: dict[str, NDArray[np.float32]], model: str
) -> None:
    config = json.loads((workplace.root / model / "config.json").read_text())
    weights = SERVED[model](workplace.root / model / "model.safetensors")
    for logits, sequence in zip(served[model], SEQUENCES, strict=True):
        assert logits == pytest.approx(next_token_logits(config, weights, sequence), abs=1e-4)


def test_ended_at_any_step_it_goes_on_with_the_same_losses(workplace: Workplace, trained: Result) -> None:
    contract = train_contract(workplace.dataset, output="ended")
    stage = workplace.start(contract)
    workplace.wait_for_step(stage, "ended", 4)
    end_by_sigterm(stage)
    done = [workplace.logged("ended")]
    stage = workplace.start(contract.model_copy(update={"attempt": 2}))
    workplace.wait_for_step(stage, "ended", 8)
    stage.kill()
    stage.wait()
    done.append(workplace.logged("ended"))
    result = workplace.run(contract.model_copy(update={"attempt": 3}))
    resumed = result.metrics["resumedFromStep"]
    assert resumed >= 6
    assert resumed % 3 == 0
    lines = (workplace.root / "ended" / "attempts.jsonl").read_text().splitlines()
    attempts = [json.loads(line) for line in lines]
    begun = [attempt["resumedFromStep"] for attempt in attempts]
    assert begun == [0, done[0], resumed]  # what was told to stop has saved its last step
    assert attempts[0]["lostSteps"] == 0
    assert [attempt["toStep"] for attempt in attempts] == [*done, result.counts["steps"]]
    assert [attempt["reason"] for attempt in attempts] == ["Terminated", "NoLastWord", "Trained"]
    assert result.metrics["lostSteps"] == sum(done) - sum(begun)
    assert workplace.losses("ended") == workplace.losses("trained")
    (log,) = workplace.root.glob("ended.logs/attempt-3-*/worker-0.log")
    assert "Use the compilation cache" in log.read_text()  # MindSpore's word that it has not compiled
    weights = [load_file(workplace.root / output / "model.safetensors") for output in ("trained", "ended")]
    for name, array in weights[0].items():
        assert np.array_equal(array, weights[1][name]), name


def end_by_sigterm(stage: subprocess.Popen[str]) -> None:
    """Ask the stage to stop: it must do so in its grace period, and its worker with it."""
    workers = Path(f"/proc/{stage.pid}/task/{stage.pid}/children").read_text().split()
    started = time.monotonic()
    stage.send_signal(signal.SIGTERM)
    output, _ = stage.communicate()
    assert time.monotonic() - started < 30  # its grace period
    assert stage.returncode == 143
    assert Result.model_validate_json(output).outcome == "Terminated"
    assert len(workers) == 1
    assert not Path(f"/proc/{workers[0]}").exists()


def test_a_loss_that_is_not_finite_ends_it_for_good(workplace: Workplace) -> None:
    weights = write_weights(write_student(workplace.root / "broken", num_hidden_layers=1))
    weights["model.norm.weight"][:] = np.nan
    save_file(weights, workplace.root / "broken" / "model.safetensors")
    contract = train_contract(
        workplace.dataset,
        output="not-finite",
        model=ModelSource(uri="broken"),
        training=Training(epochs=1, batch_size=4),
    )
    stage = workplace.start(contract)
    output, _ = stage.communicate()
    result = Result.model_validate_json(output)
    assert (result.outcome, result.reason, stage.returncode) == ("WrongInput", "LossNotFinite", 78)
    assert "step 1 of" in result.message
