"""What MindFormers' loader gives of packed sequences: `python loaded_rows.py SEQUENCES [patched|plain]`.

Prints, as JSON, the first rows of two shuffled epochs as digests, with flash attention's mask and without, and by how
many bytes of its own the process grew when it first opened the data set, some 40 MB of MindSpore's own included.
"""

import hashlib
import json
import sys
from itertools import islice
from pathlib import Path

from distill_runtime.training import data_patches, patching

COLUMNS = ["input_ids", "labels", "loss_mask", "position_ids", "mask"]
FIRST_ROWS = 100


def main(sequences: str, patched: bool) -> None:
    if patched:
        patching.install(data_patches.PATCHES)
    import mindspore  # noqa: PLC0415
    from mindformers.dataset.dataloader.common_dataloader import CommonDataLoader  # noqa: PLC0415

    rows: list[str] = []
    grown: list[int] = []
    for compress_mask in (True, False):
        mindspore.set_seed(1)
        before = own_bytes()
        loader = CommonDataLoader(
            column_names=COLUMNS,
            path=sequences,
            load_func="load_from_disk",
            packing="pack",
            shuffle=True,
            adaptor_config={"compress_mask": compress_mask},
        )
        grown.append(own_bytes() - before)
        for _ in range(2):
            for row in islice(loader.create_tuple_iterator(output_numpy=True, num_epochs=1), FIRST_ROWS):
                digest = hashlib.sha256()
                for column in row:
                    digest.update(f"{column.dtype} {column.shape}".encode() + column.tobytes())
                rows.append(digest.hexdigest())
    print(json.dumps({"rows": rows, "grown": grown[0]}))


def own_bytes() -> int:
    """Give the memory that is the process's own: what is mapped from files can be dropped at any time."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], patched=sys.argv[2] == "patched")
