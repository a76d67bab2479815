"""By how much a process grows that reads packed sequences by MindFormers' loader: `python loaded_rows.py SEQUENCES`.

Prints, as JSON, the first rows' tokens of a shuffled epoch, and how many bytes of its own the process grew by opening
the data set and reading them, some 40 MB of MindSpore's own included.
"""

import json
import sys
from itertools import islice
from pathlib import Path

FIRST_ROWS = 100


def main(sequences: str) -> None:
    import mindspore  # noqa: PLC0415
    from mindformers.dataset.dataloader.hf_dataloader import HFDataLoader  # noqa: PLC0415

    mindspore.set_seed(1)
    before = own_bytes()
    loader = HFDataLoader(
        dataset_path=sequences,
        load_func="load_from_disk",
        create_attention_mask=True,
        create_compressed_eod_mask=True,
        shuffle=True,
    )
    rows = [
        row[0].tolist() for row in islice(loader.create_tuple_iterator(output_numpy=True, num_epochs=1), FIRST_ROWS)
    ]
    print(json.dumps({"rows": rows, "grown": own_bytes() - before}))


def own_bytes() -> int:
    """Give the memory that is the process's own: what is mapped from files can be dropped at any time."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1])
