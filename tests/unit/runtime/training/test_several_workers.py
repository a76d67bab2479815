"""The msrun stage with several workers of real MindFormers on a CPU: on one node, and on two."""

import subprocess
from typing import Any

import pytest
from support.ports import unused_port
from support.student import train_contract
from support.workplace import Workplace, assert_moved_a_little, finished, write_halves

from distill_runtime.contract import ArtifactReference, Checkpoint, ModelSource, Result, TrainContract, Training
from distill_runtime.storage.artifact import open_artifact, verify_content

pytestmark = pytest.mark.mindspore

STEPS = 30


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace = Workplace(tmp_path_factory.mktemp("volume"))
    write_halves(workplace.root / "base", num_hidden_layers=1)
    return workplace


def contract(workplace: Workplace, output: str, **changes: Any) -> TrainContract:
    return train_contract(
        workplace.dataset,
        output=output,
        model=ModelSource(uri="base"),
        training=Training(epochs=8, batch_size=2, max_steps=STEPS, learning_rate=1e-3),
        checkpoint=Checkpoint(every_steps=100),
        **changes,
    )


@pytest.fixture(scope="module")
def undisturbed(workplace: Workplace) -> list[tuple[int, float]]:
    """The losses of two workers on one node."""
    workplace.run(contract(workplace, "undisturbed", devices_per_node=2))
    return workplace.losses("undisturbed")


def start(workplace: Workplace, attempt: int) -> list[subprocess.Popen[str]]:
    """Start an attempt of a worker on each of two nodes."""
    rendezvous = {"host": "127.0.0.1", "port": unused_port()}
    orders = contract(workplace, "disturbed", attempt=attempt, nodes=2, rendezvous=rendezvous)
    return [workplace.start(orders, index) for index in (0, 1)]


def test_two_nodes_save_the_same_step_when_one_is_told_to_end_and_go_on_with_the_losses_of_one_node(
    workplace: Workplace, undisturbed: list[tuple[int, float]]
) -> None:
    first, second = start(workplace, 1)
    workplace.wait_for_step(first, "disturbed", 3)
    second.terminate()
    for node in (first, second):
        assert Result.model_validate_json(node.communicate()[0]).outcome == "Terminated"
    done = workplace.logged("disturbed")
    assert 3 < done < STEPS
    saved = (workplace.root / "disturbed.work" / "checkpoints").glob("step-*/rank_*/*.safetensors")
    assert sorted(path.parts[-3:-1] for path in saved) == [(f"step-{done:08}", f"rank_{rank}") for rank in (0, 1)]
    resumed, other = (finished(node) for node in start(workplace, 2))
    assert (resumed.metrics["resumedFromStep"], resumed.metrics["lostSteps"]) == (done, 0)
    assert isinstance(resumed.artifact, ArtifactReference)
    assert other.artifact is None
    verify_content(*open_artifact(workplace.volume, resumed.artifact))
    assert workplace.losses("disturbed") == undisturbed
    assert undisturbed[-1][1] < undisturbed[0][1]
    for output in ("undisturbed", "disturbed"):  # they began with the base's weights
        assert_moved_a_little(workplace.root / output, workplace.root / "base")
