"""What MindFormers needs to train on more data than fits into memory, on whatever device (see `patching`).

Measured with MindFormers 1.6.0 and datasets 2.18.
"""

from typing import Any, Final

from distill_runtime.training.patching import Patches


class _LazyColumn:
    """A column of a data set whose rows are read when they are asked for."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._rows = dataset.select_columns([name])
        self._name = name

    def __getitem__(self, row: int) -> Any:
        return self._rows[int(row)][self._name]  # MindSpore asks by NumPy's integers, which datasets refuses


def read_rows_when_needed(module: Any) -> None:
    """Leave the packed sequences in their memory-mapped files.

    MSDatasetAdaptor takes all columns out of the data set before the first step: 16 bytes a token, as int64, in every
    worker, which for 10^9 tokens and eight workers is 128 GB. It only ever looks at one row at a time. Rows have the
    same values and types either way.
    """

    def start(self: Any, dataset: Any, packing: str | None = None, config: dict[str, Any] | None = None) -> None:
        self.dataset = dataset
        self.col_names = dataset.column_names
        for name in self.col_names:
            setattr(self, name, _LazyColumn(dataset, name))
        self.packing = packing
        self._set_config(config)

    module.MSDatasetAdaptor.__init__ = start


PATCHES: Final[Patches] = {"mindformers.dataset.dataloader.ms_ds_convertor": read_rows_when_needed}
