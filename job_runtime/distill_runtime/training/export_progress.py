"""How far an export is: by how much of its weights is there, since it is one process and then one long copy."""

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from distill_runtime.contract import TrainContract
from distill_runtime.process.progress import Reporter
from distill_runtime.training.checkpoints import Checkpoint
from distill_runtime.training.claim import exported_bytes
from distill_runtime.training.completion import has_parts
from distill_runtime.training.export import trained_weights
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.weight_names import expected_shapes

_BYTES: Final = 10**6
_POLL_SECONDS: Final = 1.0


def expected_bytes(contract: TrainContract, inputs: TrainingInputs, checkpoint: Checkpoint) -> int:
    """Give what an export writes: the weights of the model and, where workers have parts, these put together."""
    model = exported_bytes(inputs)
    if not has_parts(contract, checkpoint):
        return model
    parts = trained_weights([checkpoint.files[0]], inputs.architecture)
    widths = (part.bytes // math.prod(part.shape) for part in parts.values())
    parameters = sum(math.prod(shape) for shape in expected_shapes(inputs.architecture).values())
    return model + max(widths, default=0) * parameters


@contextmanager
def growth_reported(directories: Sequence[Path], total: int, reporter: Reporter) -> Iterator[None]:
    """Report meanwhile how much is in directories, of `total` bytes; a little more or less does not matter."""
    ended = threading.Event()
    reporter.update(done=0, total=total // _BYTES)

    def report() -> None:
        most = 0
        while not ended.wait(_POLL_SECONDS):
            most = max(most, min(_bytes_in(directories), total))
            reporter.update(done=most // _BYTES)

    thread = threading.Thread(target=report, name="export progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    reporter.update(done=total // _BYTES)


def _bytes_in(directories: Sequence[Path]) -> int:
    """Add up files; one that is renamed meanwhile is counted the next time."""
    total = 0
    for directory in directories:
        with contextlib.suppress(FileNotFoundError):
            total += sum(path.stat().st_size for path in directory.iterdir())
    return total
