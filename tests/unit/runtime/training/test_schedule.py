"""Devices, batches and steps."""

import pytest
from support.student import train_contract

from distill_runtime.contract import ArtifactReference, Parallelism, Training
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.schedule import Schedule, plan_schedule

DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("changes", "sequences", "expected"),
    [
        (
            {"training": Training(epochs=3, batch_size=4, warmup_ratio=0.1)},
            101,
            Schedule(1, 1, 4, 25, 75, 7),
        ),
        # The seed's first YAML: 8 devices, tensor 4, pipeline 2, 8 micro-batches.
        (
            {
                "training": Training(epochs=3, batch_size=1),
                "parallelism": Parallelism(tensor=4, pipeline=2, micro_batches=8),
                "devices_per_node": 8,
                "device_target": "Ascend",
            },
            1000,
            Schedule(8, 1, 8, 125, 375, 37),
        ),
        # Micro-batches are pipelining's: without a pipeline a step takes one batch, as MindFormers resets it.
        (
            {
                "training": Training(epochs=1, batch_size=2),
                "parallelism": Parallelism(tensor=4, context=2, micro_batches=4),
                "nodes": 2,
                "devices_per_node": 8,
                "device_target": "Ascend",
            },
            100,
            Schedule(16, 2, 4, 25, 25, 2),
        ),
        ({"training": Training(epochs=3, batch_size=4, max_steps=30)}, 100, Schedule(1, 1, 4, 25, 30, 3)),
    ],
)
def test_steps(changes: dict[str, object], sequences: int, expected: Schedule) -> None:
    assert plan_schedule(train_contract(DATASET, **changes), sequences) == expected


@pytest.mark.mindspore
@pytest.mark.parametrize(
    ("sequences", "workers", "batch_size"), [(5, 2, 1), (7, 2, 2), (8, 2, 2), (7, 3, 2), (101, 4, 4), (1, 2, 1)]
)
def test_workers_on_cpus_have_the_steps_that_mindspore_makes_of_their_shards(
    sequences: int, workers: int, batch_size: int
) -> None:
    from mindspore.dataset import GeneratorDataset  # noqa: PLC0415

    contract = train_contract(DATASET, training=Training(batch_size=batch_size), devices_per_node=workers)
    for worker in range(workers):
        shard = GeneratorDataset(range(sequences), ["input_ids"], num_shards=workers, shard_id=worker)
        steps = shard.batch(batch_size, drop_remainder=True).get_dataset_size()
        assert plan_schedule(contract, sequences).steps_per_epoch == steps


def test_devices_read_all_sequences_and_leave_the_remainder_out() -> None:
    contract = train_contract(DATASET, training=Training(batch_size=1), devices_per_node=2, device_target="Ascend")
    assert plan_schedule(contract, 5).steps_per_epoch == 2


def test_epochs_are_those_that_are_begun() -> None:
    contract = train_contract(DATASET, training=Training(epochs=3, batch_size=4, max_steps=30))
    assert plan_schedule(contract, 100).epochs == 2


def test_devices_must_make_whole_groups() -> None:
    contract = train_contract(DATASET, parallelism=Parallelism(tensor=4, pipeline=2), devices_per_node=12)
    with pytest.raises(WrongInput, match=r"12 devices .* = 8") as refused:
        plan_schedule(contract, 100)
    assert refused.value.reason == "ParallelismMismatch"


def test_less_data_than_a_step_takes() -> None:
    with pytest.raises(WrongInput, match=r"has 3 packed sequences, a step takes 4") as refused:
        plan_schedule(train_contract(DATASET), 3)
    assert refused.value.reason == "DatasetTooSmall"
