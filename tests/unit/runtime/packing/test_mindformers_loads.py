"""MindFormers' own loader reads what the pack stage writes, and means by it what we mean."""

from pathlib import Path

import numpy as np
import pytest

from distill_runtime.packing.description import SAMPLES_PER_SEQUENCE
from distill_runtime.packing.plan import plan_sequences
from distill_runtime.packing.sample_store import SampleStore
from distill_runtime.packing.sequences import Layout, SampleTable, SequenceWriter, write_index
from distill_runtime.packing.tokens import Sample

LENGTH = 384


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packed")
    generator = np.random.default_rng(0)
    sizes = [*([3] * 260), *generator.integers(5, 200, 20).tolist()]  # the first ones fill sequences by their number
    with SampleStore(directory / "store", 0) as store:
        store.append([Sample(np.arange(size, dtype=np.int32), 2) for size in sizes])
        table = SampleTable.of(store)
        plan = plan_sequences(table.lengths, LENGTH, SAMPLES_PER_SEQUENCE, np.random.default_rng(0))
        writer = SequenceWriter(directory / "sequences", ())
        writer.write(store, table, plan, Layout(LENGTH, 0))
        write_index(directory / "sequences", writer.files, "0")
    return directory / "sequences"


@pytest.mark.parametrize("compress_mask", [False, True])
def test_hf_data_loader(packed: Path, compress_mask: bool) -> None:
    from mindformers.dataset.dataloader.hf_dataloader import HFDataLoader  # noqa: PLC0415

    loader = HFDataLoader(
        dataset_path=str(packed),
        load_func="load_from_disk",
        create_attention_mask=True,
        create_compressed_eod_mask=compress_mask,
    )
    rows = list(loader.create_dict_iterator(output_numpy=True, num_epochs=1))
    assert rows
    for row in rows:
        positions, mask = row["position_ids"], row["actual_seq_len" if compress_mask else "attention_mask"]
        starts = np.flatnonzero(positions == 0)
        assert np.array_equal(row["loss_mask"], row["labels"] != -100)
        assert np.array_equal(row["input_ids"][: starts[-1]], positions[: starts[-1]])
        if compress_mask:
            # The vector of ends that the flash attention kernel takes: it must reach the end of the sequence.
            assert mask.shape == (128,)
            assert mask[-1] == LENGTH
            assert set(starts[1:].tolist()) <= set(mask.tolist())
        else:
            sample_of = np.searchsorted(starts, np.arange(LENGTH), side="right")
            allowed = (sample_of[:, None] == sample_of[None, :]) & np.tri(LENGTH, dtype=bool)
            assert np.array_equal(mask[0] == 0, allowed)
