"""Every way in which a stage may fail on purpose.

    StageError
    ├── WrongInput   exit code 78: wrong now and wrong the next time; the Job fails at once
    └── Retryable    exit code 1: may not fail again; the Job starts another Pod

Anything else that a stage raises is a defect or the machine's fault, and `stage.run_stage` reports it as Failed.
`Terminated` stands apart: it is the request to stop, not a failure.
"""

from typing import ClassVar, Literal

from distill_runtime.contract import EXIT_RETRY, EXIT_WRONG_INPUT, FailureClass


class StageError(Exception):
    """A failure that a person should read about.

    Args:
        reason: one CamelCase word, which becomes a condition's reason.
        message: what is wrong, where, and what to do about it.
        failure_class: whose fault it is, if that can be told.
    """

    outcome: ClassVar[Literal["WrongInput", "Failed"]]
    exit_code: ClassVar[int]

    def __init__(self, reason: str, message: str, failure_class: FailureClass | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.failure_class = failure_class


class WrongInput(StageError):  # noqa: N818 - named for what it says; the tree above shows that it is an error
    """The contract, or the data it points at, is wrong and stays wrong."""

    outcome = "WrongInput"
    exit_code = EXIT_WRONG_INPUT


class Retryable(StageError):  # noqa: N818
    """Something outside failed and may work the next time."""

    outcome = "Failed"
    exit_code = EXIT_RETRY


class Terminated(BaseException):
    """SIGTERM arrived: keep the progress and stop.

    Like KeyboardInterrupt it is no Exception, so that nothing mistakes it for a failure and carries on.
    """
