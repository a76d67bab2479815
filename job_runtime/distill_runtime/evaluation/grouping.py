"""The columns of a benchmark that its score is broken down by."""

from collections.abc import Mapping, Sequence

from distill_runtime.contract import Benchmark
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.prompts import Prompt
from distill_runtime.sources.table import open_table
from distill_runtime.sources.values import as_text
from distill_runtime.storage.volume import Volume


def read_columns(
    benchmark: Benchmark, prompts: Sequence[Prompt], volume: Volume
) -> dict[str, Mapping[str, str | None]]:
    """Give each of `benchmark.groupColumns` with its value, as text, by the uuid of the problem.

    Raises:
        WrongInput: as `open_table`.
    """
    if not benchmark.group_columns:
        return {}
    wanted = {f"groupColumns.{index}": name for index, name in enumerate(benchmark.group_columns)}
    table = open_table(benchmark.uri, volume, wanted, Selection(benchmark.subset, benchmark.split))
    uuids = {prompt.position: prompt.uuid for prompt in prompts}
    values: dict[str, dict[str, str | None]] = {name: {} for name in benchmark.group_columns}
    for position, row in enumerate(table.rows()):
        if position in uuids:
            for name, found in values.items():
                found[uuids[position]] = as_text(row.get(name))
    return dict(values)
