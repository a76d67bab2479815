"""/healthz and /metrics over real HTTP."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from unit.operator.builders import NOW, key

from distill_operator.api import EvalRunStatus, FinetuneRunStatus, StageState, StageStatus, Status
from distill_operator.metrics import Metrics
from distill_operator.plan.pipeline import Phase, Verdict
from distill_operator.plan.status import conditions
from distill_operator.server import STUCK_SECONDS, build_server

RUN, SCORE = key("FinetuneRun"), key("EvalRun")


@asynccontextmanager
async def get(
    path: str, metrics: Metrics, busy: Callable[[], float] = lambda: 0.0, knows: Callable[[], bool] = lambda: True
) -> AsyncIterator[tuple[int, str]]:
    runner = web.AppRunner(build_server(metrics, busy, knows))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as response:
            yield response.status, await response.text()
    finally:
        await runner.cleanup()


async def exposed(metrics: Metrics) -> str:
    async with get("/metrics", metrics) as (status, text):
        assert status == 200
        return text


def phase(phase: Phase) -> Status:
    return Status(conditions=conditions(Verdict(phase, "Word", ""), Status(), 1, NOW))


def holds(kind: str, name: str, condition: str) -> str:
    labels = f'condition="{condition}",kind="{kind}",name="{name}",namespace="team-a"'
    return f"npu_distill_object_condition{{{labels}}} 1.0"


async def test_is_healthy_while_work_goes_on() -> None:
    async with get("/healthz", Metrics(), lambda: STUCK_SECONDS) as answer:
        assert answer == (200, "ok\n")


async def test_is_unhealthy_when_a_reconciliation_is_stuck() -> None:
    async with get("/healthz", Metrics(), lambda: 301.0) as answer:
        assert answer == (503, "a reconciliation has been running for 301 s\n")


@pytest.mark.parametrize(("knows", "status"), [(True, 200), (False, 503)])
async def test_is_ready_once_it_knows_what_there_is(knows: bool, status: int) -> None:
    async with get("/readyz", Metrics(), knows=lambda: knows) as (said, _):
        assert said == status
    async with get("/healthz", Metrics(), knows=lambda: knows) as (said, _):
        assert said == 200


@pytest.mark.parametrize(
    ("stands", "condition"),
    [
        (Phase.PROGRESSING, "Reconciling"),
        (Phase.FAILED, "Stalled"),
        (Phase.DONE, "Ready"),
        (Phase.SUSPENDED, "Suspended"),
    ],
)
async def test_shows_the_condition_that_holds(stands: Phase, condition: str) -> None:
    metrics = Metrics()
    metrics.observe(RUN, phase(stands))
    assert holds("FinetuneRun", "student", condition) in await exposed(metrics)


async def test_shows_one_condition_at_a_time() -> None:
    metrics = Metrics()
    metrics.observe(RUN, phase(Phase.PROGRESSING))
    metrics.observe(RUN, phase(Phase.DONE))
    text = await exposed(metrics)
    assert text.count("npu_distill_object_condition{") == 1
    assert holds("FinetuneRun", "student", "Ready") in text


async def test_shows_figures_of_training_and_score() -> None:
    metrics = Metrics()
    metrics.observe(RUN, FinetuneRunStatus(loss=0.25, step=40, restarts=2))
    metrics.observe(SCORE, EvalRunStatus(score=91.6))
    text = await exposed(metrics)
    labels = 'kind="FinetuneRun",name="student",namespace="team-a"'
    for line in (
        f"npu_distill_training_loss{{{labels}}} 0.25",
        f"npu_distill_training_step{{{labels}}} 40.0",
        f"npu_distill_training_restarts{{{labels}}} 2.0",
        'npu_distill_score_percent{kind="EvalRun",name="score",namespace="team-a"} 91.6',
    ):
        assert line in text


TRAINING = FinetuneRunStatus(
    epoch=2,
    step=40,
    total_steps=100,
    loss=0.25,
    learning_rate=5e-5,
    gradient_norm=1.5,
    tokens_per_second=8000.0,
    model_flops_utilization=0.41,
    last_checkpoint_step=30,
    last_checkpoint_time=NOW,
    lost_steps=7,
    stages=(
        StageStatus(name="train-preflight", state=StageState.SUCCEEDED, metrics={"memoryPerDevice": 2.0**35}),
        StageStatus(name="train", state=StageState.RUNNING),
    ),
)
WHILE_IT_TRAINS = {
    "tokens_per_second",
    "model_flops_utilization_ratio",
    "last_checkpoint_step",
    "last_checkpoint_timestamp_seconds",
}


def training_figures(metrics: Metrics) -> dict[str, float]:
    lines = re.findall(r"^npu_distill_training_(\w+)\{[^}]*\} (\S+)$", metrics.expose().decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_shows_every_figure_of_a_training() -> None:
    metrics = Metrics()
    metrics.observe(RUN, TRAINING)
    assert training_figures(metrics) == {
        "epoch": 2,
        "step": 40,
        "total_steps": 100,
        "loss": 0.25,
        "learning_rate": 5e-5,
        "gradient_norm": 1.5,
        "tokens_per_second": 8000,
        "model_flops_utilization_ratio": 0.41,
        "last_checkpoint_step": 30,
        "last_checkpoint_timestamp_seconds": NOW.timestamp(),
        "memory_per_device_bytes": 2**35,
        "restarts": 0,
        "disruptions": 0,
        "lost_steps": 7,
    }


def test_a_training_that_has_ended_has_no_speed_and_no_checkpoint_that_grows_old() -> None:
    metrics = Metrics()
    metrics.observe(RUN, TRAINING)
    before = training_figures(metrics).keys()
    done = TRAINING.stages[1].model_copy(update={"state": StageState.SUCCEEDED})
    metrics.observe(RUN, TRAINING.model_copy(update={"stages": (TRAINING.stages[0], done)}))
    assert before - training_figures(metrics).keys() == WHILE_IT_TRAINS


def test_what_a_status_has_no_more_is_shown_no_more() -> None:
    metrics = Metrics()
    metrics.observe(RUN, TRAINING)
    metrics.observe(RUN, FinetuneRunStatus())
    assert training_figures(metrics) == {"restarts": 0, "disruptions": 0}


async def test_a_deleted_object_is_shown_no_more() -> None:
    metrics = Metrics()
    metrics.observe(RUN, TRAINING)
    metrics.forget(RUN)
    assert 'name="student"' not in await exposed(metrics)


async def test_nothing_is_left_of_a_namespace_whose_objects_are_gone() -> None:
    metrics = Metrics()
    for each in (RUN, SCORE):
        metrics.observe(each, Status())
        metrics.status_written(each.kind, each.namespace)
        metrics.child_created("Job", each.namespace)
    metrics.forget(RUN)
    assert f'status_writes_total{{kind="FinetuneRun",namespace="{RUN.namespace}"}} 1.0' in await exposed(metrics)
    metrics.forget(SCORE)
    assert f'namespace="{RUN.namespace}"' not in await exposed(metrics)


async def test_forgetting_what_was_never_seen_is_nothing() -> None:
    metrics = Metrics()
    metrics.forget(RUN)
    assert 'name="student"' not in await exposed(metrics)


async def test_counts_reconciliations_and_those_that_raised() -> None:
    metrics = Metrics()
    with metrics.reconciliation("EvalRun"):
        pass
    with pytest.raises(ValueError, match="defect"), metrics.reconciliation("EvalRun"):
        raise ValueError("defect")
    text = await exposed(metrics)
    assert 'npu_distill_reconcile_seconds_count{kind="EvalRun"} 2.0' in text
    assert 'npu_distill_reconcile_errors_total{kind="EvalRun"} 1.0' in text


async def test_counts_what_it_writes() -> None:
    metrics = Metrics()
    metrics.status_written("EvalRun", "team-a")
    metrics.child_created("Job", "team-a")
    text = await exposed(metrics)
    assert 'npu_distill_status_writes_total{kind="EvalRun",namespace="team-a"} 1.0' in text
    assert 'npu_distill_children_created_total{kind="Job",namespace="team-a"} 1.0' in text


async def test_reads_the_queue_s_length_when_asked() -> None:
    metrics, lengths = Metrics(), iter([3, 5])
    metrics.watch_queue(lambda: next(lengths))
    assert "npu_distill_queue_length 3.0" in await exposed(metrics)
    assert "npu_distill_queue_length 5.0" in await exposed(metrics)
