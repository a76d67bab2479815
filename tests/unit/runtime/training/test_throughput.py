"""What a step of training computes, and how fast that is."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.architectures import QWEN_2_5_7B
from support.student import pack_samples, train_contract, write_student

from distill_runtime.contract import Lora
from distill_runtime.packing.description import PackedDataset
from distill_runtime.packing.sequences import SequenceWriter, sequence_batch
from distill_runtime.storage.volume import Volume
from distill_runtime.training.configuration import TrainingData
from distill_runtime.training.inputs import open_inputs
from distill_runtime.training.throughput import SampleTokens, StepWork, count_tokens, model_flops, plan_work


def write_sequences(directory: Path, *ends: list[int]) -> TrainingData:
    """Write two files of sequences of 10 tokens, whose samples end where it is said."""
    writer = SequenceWriter(directory, ())
    for part in (ends[:2], ends[2:]):
        ids = np.zeros((len(part), 10), np.int32)
        offsets = np.cumsum([0, *map(len, part)]).astype(np.int32)
        with writer.next_file() as stream:
            batch: pa.RecordBatch = sequence_batch(ids, ids, np.concatenate(part).astype(np.int32), offsets)
            stream.write_batch(batch)
    return TrainingData(directory, 10)


def test_padding_belongs_to_no_sample(tmp_path: Path) -> None:
    data = write_sequences(tmp_path / "sequences", [3, 7], [10], [2])
    assert count_tokens(data) == SampleTokens(tokens=19, squared=9 + 16 + 100 + 4)


@pytest.mark.parametrize(
    ("lengths", "flops"),
    [
        # 6.525e9 parameters of 28 layers and 0.545e9 of the projection to the vocabulary, worked out by hand.
        ([1], 6 * (28 * 233_046_016 + 3584 * 152_064) + 6 * 28 * 3584),
        ([4096], 4096 * 6 * (28 * 233_046_016 + 3584 * 152_064) + 6 * 28 * 3584 * 4096**2),
        # The same tokens in eight samples: each attends within itself only.
        ([512] * 8, 4096 * 6 * (28 * 233_046_016 + 3584 * 152_064) + 8 * 6 * 28 * 3584 * 512**2),
    ],
)
def test_flops_of_a_seven_billion_model(lengths: list[int], flops: float) -> None:
    samples = SampleTokens(sum(lengths), sum(length**2 for length in lengths))
    assert model_flops(QWEN_2_5_7B, samples, None) == pytest.approx(flops)


def test_of_a_base_that_is_not_trained_there_are_no_gradients_of_weights() -> None:
    samples = SampleTokens(4096, 4096**2)
    trained = model_flops(QWEN_2_5_7B, samples, None)
    frozen = 4096 * 2 * (28 * 233_046_016 + 3584 * 152_064)
    adapters = 4096 * 6 * 40_370_176  # rank 16 on all projections
    assert model_flops(QWEN_2_5_7B, samples, Lora(rank=16)) == pytest.approx(trained - frozen + adapters)


@pytest.mark.parametrize(
    ("work", "seconds", "speed"),
    [
        (StepWork(500, 4e12, 16e12), 0.5, {"tokensPerSecond": 1000, "modelFlopsUtilization": 0.5}),
        (StepWork(500, 4e12, None), 0.5, {"tokensPerSecond": 1000}),
        (StepWork(500, 4e12, 16e12), 0.0, {}),
    ],
)
def test_speed_of_a_step(work: StepWork, seconds: float, speed: dict[str, float]) -> None:
    assert work.speed(seconds) == speed


def test_a_step_is_a_share_of_the_data(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    write_student(tmp_path / "student")
    contract = train_contract(pack_samples(volume, 60), peak_teraflops=353.8944, devices_per_node=2)
    packed = PackedDataset.read(tmp_path / contract.dataset.uri)
    work = plan_work(contract, open_inputs(contract, volume))
    assert work.tokens == pytest.approx(8 * packed.tokens / packed.sequences)
    assert work.tokens < 8 * packed.sequence_length
    assert work.peak_flops == 2 * 353.8944e12
