"""Speed and memory, measured beside a peer in the same run: machines are shared and noisy, ratios last.

Each module of this package that has a function `measure() -> Iterator[Row]` is one benchmark; `make bench` runs them
all and prints the table, `make bench ONLY="client pack"` runs some. CPU-seconds are those of the process that does the
work, from the operating system's accounting; memory is its peak resident set.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `requirement` is what the project holds itself to, in words; `met` whether this run met it, None where the figure is
    only for information.
    """

    name: str
    ours: str
    peer: str
    requirement: str = ""
    met: bool | None = None
