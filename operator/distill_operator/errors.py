"""What can go wrong at the API server.

* `ClusterError`: a request that the API server refused, or that did not reach it.

  * `BusyError`: it has no time for it now, or was not reached; the same request may go well in a moment.
  * `ObjectGoneError`: the object is not there any more.
  * `ConflictError`: the object has changed since it was read, or is another one of the same name.
  * `InvalidError`: what was sent is wrong, and will be the next time.
  * `ForbiddenError`: the operator has no right to it, or a quota is used up.
  * `NotServedError`: the API server does not know a kind, of this group or of a queue's.
  * `NamespaceReturnedError`: a namespace that was left out can be watched.
"""


class ClusterError(Exception):
    """A request that the API server refused, or that did not reach it."""


class BusyError(ClusterError):
    """The API server has no time for it now, or was not reached; the same request may go well in a moment."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the API server wants to be left alone for."""


class ObjectGoneError(ClusterError):
    """The object is not there any more."""


class ConflictError(ClusterError):
    """The object has changed since it was read, or is another one of the same name."""


class InvalidError(ClusterError):
    """What was sent is wrong, and will be the next time."""


class ForbiddenError(ClusterError):
    """The operator has no right to it, or a quota is used up."""


class NotServedError(ClusterError):
    """The API server does not know a kind, of this group or of a queue's."""


class NamespaceReturnedError(ClusterError):
    """A namespace that was left out can be watched; the process has to begin anew for it."""
