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
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from support.ports import unused_port
from support.qwen2_reference import next_token_logits
from support.student import QWEN3, pack_samples, train_contract, write_student, write_weights

from distill_runtime.contract import (
    ArtifactReference,
    Checkpoint,
    Lora,
    ModelSource,
    Result,
    TrainContract,
    Training,
)
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext
from distill_runtime.stages import msrun
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, verify_content
from distill_runtime.storage.volume import Volume
from distill_runtime.training.architecture import read_architecture
from distill_runtime.training.tensors import read_tensors, rounded, write_tensors
from distill_runtime.training.weight_names import expected_shapes

pytestmark = pytest.mark.mindspore


NOT_AN_ARTIFACT = shutil.ignore_patterns("manifest.json")
"""What is changed in a copy is not what its manifest says."""


class Workplace:
    """A volume, and the command line on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volume = Volume(root)
        write_student(root / "student")
        self.dataset = pack_samples(self.volume, 60)

    def start(self, contract: TrainContract, index: int = 0, command: str = "msrun") -> subprocess.Popen[str]:
        if contract.output != "trained":
            # As if it had begun: that MindFormers has looked at the configuration is seen once.
            context = StageContext(self.volume, Reporter("msrun", "steps"))
            ArtifactWriter(self.volume, contract, msrun.fingerprints(contract, context))
        path = self.root / f"{contract.output}.json"
        path.write_text(contract.model_dump_json(by_alias=True))
        return subprocess.Popen(
            [sys.executable, "-m", "distill_runtime", command, f"--contract={path}", f"--volume={self.root}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JOB_COMPLETION_INDEX": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, contract: TrainContract, command: str = "msrun") -> Result:
        output, errors = self.start(contract, command=command).communicate()
        result = Result.model_validate_json(output)
        assert result.outcome == "Succeeded", errors
        return result

    def losses(self, output: str) -> list[tuple[int, float]]:
        lines = (self.root / output / "training-log.jsonl").read_text().splitlines()
        return [(record["step"], record["loss"]) for record in map(json.loads, lines)]

    def logged(self, output: str) -> int:
        """Count the steps in the log of a training that is not done."""
        log = self.root / f"{output}.partial" / "training-log.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def wait_for_step(self, stage: subprocess.Popen[str], output: str, step: int) -> None:
        while self.logged(output) < step:
            assert stage.poll() is None, stage.communicate()
            time.sleep(0.02)


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
    tensors = read_tensors(workplace.root / "trained" / "model.safetensors")
    write_tensors({name: rounded(tensor, "BF16") for name, tensor in tensors.items()}, target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    return target


def load_halves(file: Path) -> dict[str, NDArray[np.float32]]:
    """Load bfloat16 weights, which numpy does not know."""
    content = file.read_bytes()
    return {
        name: (np.frombuffer(content, "<u2", tensor.bytes // 2, tensor.start).astype("<u4") << 16)
        .view("<f4")
        .reshape(tensor.shape)
        for name, tensor in read_tensors(file).items()
    }


@pytest.fixture(scope="module")
def qwen3(workplace: Workplace) -> Path:
    """A Qwen3 that was trained from weights in bfloat16, killed and resumed; see the test that looks at it."""
    base = write_student(workplace.root / "qwen3-base", **QWEN3, torch_dtype="bfloat16")
    write_weights(base)
    tensors = read_tensors(base / "model.safetensors")
    write_tensors({name: rounded(tensor, "BF16") for name, tensor in tensors.items()}, base / "halves.safetensors")
    (base / "halves.safetensors").replace(base / "model.safetensors")
    contract = train_contract(
        workplace.dataset,
        output="qwen3",
        model=ModelSource(uri="qwen3-base"),
        training=Training(epochs=4, batch_size=4, learning_rate=1e-3),
        checkpoint=Checkpoint(every_steps=10),
    )
    stage = workplace.start(contract)
    workplace.wait_for_step(stage, "qwen3", 12)
    stage.kill()
    stage.wait()
    shutil.copyfile(workplace.root / "qwen3.partial" / "training-log.jsonl", workplace.root / "before-the-kill.jsonl")
    result = workplace.run(contract.model_copy(update={"attempt": 2}))
    assert result.metrics["resumedFromStep"] >= 10
    return workplace.root / "qwen3"


def test_qwen3_is_trained_by_a_newer_network_and_goes_on_with_the_same_losses(
    workplace: Workplace, qwen3: Path
) -> None:
    losses = workplace.losses("qwen3")
    before = [json.loads(line) for line in (workplace.root / "before-the-kill.jsonl").read_text().splitlines()]
    assert losses[: len(before)] == [(record["step"], record["loss"]) for record in before]
    assert losses[-1][1] < losses[0][1] - 0.05
    base = load_halves(workplace.root / "qwen3-base" / "model.safetensors")
    trained = load_halves(qwen3 / "model.safetensors")
    assert trained.keys() == base.keys()
    for name, array in base.items():  # each has moved, as far as so many steps can take it
        assert 1e-4 < np.abs(trained[name] - array).max() < 0.03, name


def served_logits(workplace: Workplace, model: str, sequences: list[list[int]]) -> NDArray[np.float32]:
    """Ask the network that serves a model for the logits of the tokens after some sequences."""
    script = (
        "import json, sys; from pathlib import Path; from distill_runtime.training import cpu_patches, patching\n"
        "patching.install(cpu_patches.PATCHES)\n"
        "from distill_runtime.serving.network import Network\n"
        "network = Network(Path(sys.argv[1]), 'CPU', 4)\n"
        "print(json.dumps(network.next_logits(json.loads(sys.argv[2])).tolist()))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(workplace.root / model), json.dumps(sequences)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LOCAL_DEFAULT_PATH": str(workplace.root)},
        cwd=workplace.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array(json.loads(child.stdout.splitlines()[-1]))


SEQUENCES = [*np.random.default_rng(0).integers(1, 300, (2, 40)).tolist(), [5, 6, 7]]


@pytest.mark.parametrize(("model", "load"), [("trained", load_file), ("halves", load_halves), ("qwen3", load_halves)])
def test_served_again_it_computes_what_huggingface_s_qwen_computes(
    workplace: Workplace, halves: Path, qwen3: Path, model: str, load: Callable[[Path], dict[str, NDArray[np.float32]]]
) -> None:
    config = json.loads((workplace.root / model / "config.json").read_text())
    weights = load(workplace.root / model / "model.safetensors")
    for logits, sequence in zip(served_logits(workplace, model, SEQUENCES), SEQUENCES, strict=True):
        assert logits == pytest.approx(next_token_logits(config, weights, sequence), abs=1e-4)


def test_adapters_are_trained_on_weights_that_stay_and_exported_within_them_and_alone(
    workplace: Workplace, trained: Result
) -> None:
    contract = train_contract(
        workplace.dataset,
        output="adapted",
        model=ModelSource(uri="trained"),
        training=Training(epochs=2, batch_size=4, learning_rate=1e-2, lora=Lora(rank=4, alpha=8)),
    )
    workplace.run(contract.model_copy(update={"output": "undisturbed-adapters"}))
    stage = workplace.start(contract)
    workplace.wait_for_step(stage, "adapted", 4)
    stage.kill()
    stage.wait()
    resumed = workplace.run(contract.model_copy(update={"attempt": 2}))
    assert resumed.metrics["resumedFromStep"] >= 3
    losses = workplace.losses("adapted")
    assert losses == workplace.losses("undisturbed-adapters")
    assert losses[-1][1] < losses[0][1] < workplace.losses("trained")[0][1] - 0.5  # it began with the base's weights
    base, exported, adapter = (
        load_file(workplace.root / file)
        for file in (
            "trained/model.safetensors",
            "adapted/model.safetensors",
            "adapted/adapter/adapter_model.safetensors",
        )
    )
    modules = {name: f"base_model.model.{name.removesuffix('.weight')}" for name in base}
    adapted = {name: module for name, module in modules.items() if f"{module}.lora_A.weight" in adapter}
    assert len(adapted) == 7 * 2
    assert len(adapter) == 2 * len(adapted)
    expected = base | {
        name: base[name] + 2 * (adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"])
        for name, module in adapted.items()
    }
    for name, weight in expected.items():
        assert exported[name] == pytest.approx(weight, abs=1e-6)
    config = json.loads((workplace.root / "adapted" / "config.json").read_text())
    served = served_logits(workplace, "adapted", SEQUENCES)
    for logits, sequence in zip(served, SEQUENCES, strict=True):
        assert logits == pytest.approx(next_token_logits(config, expected, sequence), abs=1e-4)


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
    weights = load_file(workplace.root / "trained" / "model.safetensors")
    shutil.copytree(workplace.root / "trained", workplace.root / "broken", ignore=NOT_AN_ARTIFACT)
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


def test_two_workers_on_two_nodes_start_from_the_same_weights(workplace: Workplace, halves: Path) -> None:
    contract = train_contract(
        workplace.dataset,
        output="two-nodes",
        model=ModelSource(uri=halves.name),
        training=Training(epochs=1, batch_size=2, max_steps=4, learning_rate=1e-3),
        checkpoint=Checkpoint(every_steps=2),
        nodes=2,
        rendezvous={"host": "127.0.0.1", "port": unused_port()},
    )
    nodes = [workplace.start(contract, index) for index in (0, 1)]
    results = [Result.model_validate_json(node.communicate()[0]) for node in nodes]
    assert [result.outcome for result in results] == ["Succeeded", "Succeeded"]
    first, second = results
    assert isinstance(first.artifact, ArtifactReference)
    assert second.artifact is None
    assert first.metrics["loss"] < workplace.losses("trained")[0][1] - 0.5  # it did start from the trained weights
    exported = read_tensors(workplace.root / "two-nodes" / "model.safetensors")
    assert {tensor.dtype for tensor in exported.values()} == {"BF16"}


def test_two_nodes_save_the_same_step_when_one_is_told_to_end_and_go_on_with_the_same_losses(
    workplace: Workplace,
) -> None:
    def contract(output: str, **changes: Any) -> TrainContract:
        training = Training(epochs=8, batch_size=2, max_steps=30, learning_rate=1e-3)
        checkpoint = Checkpoint(every_steps=100)
        return train_contract(workplace.dataset, output=output, training=training, checkpoint=checkpoint, **changes)

    def start(attempt: int) -> list[subprocess.Popen[str]]:
        rendezvous = {"host": "127.0.0.1", "port": unused_port()}
        orders = contract("disturbed", attempt=attempt, nodes=2, rendezvous=rendezvous, export_by="export")
        return [workplace.start(orders, index) for index in (0, 1)]

    workplace.run(contract("undisturbed", devices_per_node=2))
    first, second = start(1)
    workplace.wait_for_step(first, "disturbed", 3)
    second.send_signal(signal.SIGTERM)
    for node in (first, second):
        assert Result.model_validate_json(node.communicate()[0]).outcome == "Terminated"
    done = workplace.logged("disturbed")
    assert 3 < done < 30
    saved = (workplace.root / "disturbed.work" / "checkpoints").glob("step-*/rank_*/*.safetensors")
    assert sorted(path.parts[-3:-1] for path in saved) == [(f"step-{done:08}", f"rank_{rank}") for rank in (0, 1)]
    resumed, _ = (Result.model_validate_json(node.communicate()[0]) for node in start(2))
    assert (resumed.metrics["resumedFromStep"], resumed.metrics["lostSteps"]) == (done, 0)
    assert resumed.artifact is None
    exported = workplace.run(contract("disturbed", nodes=2, export_by="export"), "export")
    assert exported.artifact is not None
    assert exported.counts["exportedStep"] == 30
    assert workplace.losses("disturbed") == workplace.losses("undisturbed")
