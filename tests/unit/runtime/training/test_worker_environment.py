"""What a worker finds in its environment, and what it takes of attempts before it."""

from pathlib import Path

import pytest
from support.assignments import assignment

from distill_runtime.training.assignment import Assignment
from distill_runtime.training.worker_environment import set_up_environment

GRAPH = "model: {layers: 28}\n"
FROM_WEIGHTS = "load_checkpoint: /data/base\nauto_trans_ckpt: true\nresume_training: false\n"
FROM_A_CHECKPOINT = "load_checkpoint: /data/work\nauto_trans_ckpt: false\nresume_training: rank_0.safetensors\n"


def orders_of(work: Path, attempt: str, configuration: str, resume_step: int) -> Assignment:
    logs = work / f"attempt-{attempt}"
    logs.mkdir(exist_ok=True)
    (logs / "mindformers.yaml").write_text(configuration)
    return assignment(
        work,
        device_target="Ascend",
        configuration=logs / "mindformers.yaml",
        failures=logs,
        workers=2,
        resume_step=resume_step,
    )


def environment(orders: Assignment, rank: int = 0, **own: str) -> dict[str, str]:
    variables = dict(own)
    set_up_environment(orders, rank, variables)
    return variables


@pytest.fixture
def first(tmp_path: Path) -> Assignment:
    return orders_of(tmp_path, "1", GRAPH + FROM_WEIGHTS, 0)


def resumed(work: Path, configuration: str = GRAPH) -> Assignment:
    return orders_of(work, "2", configuration + FROM_A_CHECKPOINT, 2)


def compile_graphs(orders: Assignment) -> list[Path]:
    """What MindSpore leaves, by rank."""
    files = [Path(environment(orders)["MS_COMPILER_CACHE_PATH"]) / f"rank_{rank}/graph.mindir" for rank in (0, 1)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    return files


def test_canns_log_is_in_the_attempts_own_directory(first: Assignment, tmp_path: Path) -> None:
    assert environment(first)["ASCEND_PROCESS_LOG_PATH"] == str(tmp_path / "attempt-1" / "ascend")
    on_cpu = first.model_copy(update={"device_target": "CPU"})
    assert environment(on_cpu).keys() == environment(first).keys() - {"ASCEND_PROCESS_LOG_PATH"}


def test_an_attempt_that_resumes_takes_the_graph_that_was_compiled(first: Assignment, tmp_path: Path) -> None:
    graphs = compile_graphs(first)
    variables = environment(resumed(tmp_path))
    assert variables["MS_COMPILER_CACHE_ENABLE"] == "1"
    assert graphs[0].parent == Path(variables["MS_COMPILER_CACHE_PATH"]) / "rank_0"
    assert all(graph.exists() for graph in graphs)


def test_another_configuration_takes_no_graph_of_this_one(first: Assignment, tmp_path: Path) -> None:
    other = environment(resumed(tmp_path, "model: {layers: 24}\n"))
    assert environment(first)["MS_COMPILER_CACHE_PATH"] != other["MS_COMPILER_CACHE_PATH"]


def test_a_worker_that_starts_from_the_first_step_compiles_anew(first: Assignment) -> None:
    """An attempt that did not come to a checkpoint may have been killed while it wrote the graph."""
    own, others = compile_graphs(first)
    environment(first, rank=0)
    assert (own.exists(), others.exists()) == (False, True)


def test_what_the_profile_says_stays(first: Assignment) -> None:
    variables = environment(first, MS_COMPILER_CACHE_ENABLE="0", ASCEND_PROCESS_LOG_PATH="/elsewhere")
    assert variables["MS_COMPILER_CACHE_ENABLE"] == "0"
    assert variables["ASCEND_PROCESS_LOG_PATH"] == "/elsewhere"
