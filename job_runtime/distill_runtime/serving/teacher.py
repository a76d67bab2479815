"""A teacher on the volume, served beside each shard: what it is told by, and the server while it is asked.

Imported by `generate` only where there is one: what reads models takes a hundred megabytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distill_runtime.contract import GenerateContract, InputFingerprint
from distill_runtime.contract.stages import ServedTeacher
from distill_runtime.process.child_process import make_logs_directory
from distill_runtime.process.stage import StageContext
from distill_runtime.serving.beside import Server, fingerprint_server
from distill_runtime.training.architecture import read_positions
from distill_runtime.training.inputs import fingerprint_model


def fingerprint_teacher(served: ServedTeacher, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell which model it is, and which server.

    Raises:
        WrongInput: as `fingerprint_model`.
    """
    return fingerprint_model(served.uri, context.volume), *fingerprint_server(served.server)


def check_teacher(served: ServedTeacher, context: StageContext) -> None:
    """Make sure that there is a model.

    Raises:
        WrongInput: as `read_positions`.
    """
    read_positions(context.volume.resolve(served.uri))


@contextmanager
def served_teacher(
    contract: GenerateContract, served: ServedTeacher, context: StageContext
) -> Iterator[Callable[[int], str]]:
    """Have it ready, and give what is told the number of answers and raises if the server is given up.

    Raises:
        WrongInput: as `check_teacher`, or ModelNotServed.
        Retryable: ServerFailed.
    """
    check_teacher(served, context)
    (url,) = contract.teacher.endpoints
    logs = make_logs_directory(context.volume.resolve(contract.output), f"attempt-{contract.attempt}")
    server = Server(served.server, url, logs)
    try:
        server.wait_until_ready(lambda message: context.reporter.update(message=message))
        yield server.check
    finally:
        server.keep_output()
