"""Running a coroutine inside a stage, so that SIGTERM stops it as it stops everything else."""

import asyncio
import ctypes
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from distill_runtime.foundation.errors import Terminated

T = TypeVar("T")

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_KEPT_BYTES = 64 * 2**20
_PADDING_BYTES = 16 * 2**20


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop and give what it returns.

    On SIGTERM it is cancelled, so that its `finally` blocks may close files and connections.

    Raises:
        Terminated: when it was cancelled by SIGTERM.
        BaseException: what the coroutine raises; of an exception group, the first one that is in it.
    """
    _keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_until_sigterm(work))
        except BaseExceptionGroup as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from None


def _keep_freed_memory() -> None:
    """Let malloc keep up to 64 MiB that were freed, rather than give them back and ask for them again.

    A loop that handles responses of some kilobytes does both for each of them, and the page faults that follow cost
    it two fifths of its CPU. Where the C library is not glibc there is no such call, and nothing to mend.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TOP_PAD, _PADDING_BYTES)


async def _until_sigterm(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
