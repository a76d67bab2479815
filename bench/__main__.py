"""Run the benchmarks and print the table: `python -m bench [NAME …]`."""

import argparse
import importlib
import pkgutil
import sys
import time

import bench
from bench import Row

_HEADINGS = ("What", "npu-distill", "peer", "required", "")
_MARKS = {True: "met", False: "MISSED", None: ""}


def main() -> int:
    """Run what is named, or everything; fail if a requirement was missed."""
    known = [module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; default: all")
    names = parser.parse_args().names or known
    if unknown := set(names) - set(known):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    rows: list[Row] = []
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        if not hasattr(module, "measure"):
            continue
        start = time.monotonic()
        for row in module.measure():
            sys.stderr.write(f"[{time.monotonic() - start:6.1f} s] {row.name}: {row.ours} ({row.peer})\n")
            rows.append(row)
    sys.stdout.write(_table(rows))
    return 1 if any(row.met is False for row in rows) else 0


def _table(rows: list[Row]) -> str:
    lines = [_HEADINGS, *((row.name, row.ours, row.peer, row.requirement, _MARKS[row.met]) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
