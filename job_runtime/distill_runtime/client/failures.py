"""Failures for good, held back until it is known whose fault they are.

An endpoint that refuses a request, or fails it again and again, may have something against this one, which is the same
for ever, or against all of them: their `max_tokens` is more than its context, it knows no system message, somebody has
just changed its configuration. The second kind must not be taken for the first: once the server is mended the requests
are to be asked again, and what is settled never is.

So failures are held back until the next answer, which makes them the requests' own. Where so many come in a row without
one, a trivial question with the same parameters tells: if it is answered they are the requests' own after all, as where
all prompts of one part of a source are too long; if not, the run ends, and nothing was recorded of them.
"""

from collections.abc import Sequence

from distill_runtime.client.trouble import Kind
from distill_runtime.client.values import Answer, Failure, Outcome
from distill_runtime.foundation.errors import Retryable, StageError, WrongInput

_FAILURES_TO_JUDGE = 20


class HeldFailures:
    """Tells which outcomes are certain.

    Args:
        at_once: requests that are under way at once, at most. So many may fail, and others be worked on for minutes
            before the first is answered.

    Attributes:
        answered: whether anything has been. Fewer failures after that than are to be judged are the requests' own.
    """

    def __init__(self, at_once: int) -> None:
        self._enough = max(_FAILURES_TO_JUDGE, at_once)
        self.answered = False
        self._held: list[Failure] = []

    def settle(self, outcome: Outcome) -> Sequence[Outcome]:
        """Take an outcome into account, and give those that are certain now."""
        if isinstance(outcome, Answer):
            self.answered = True
            return [*self.release(), outcome]
        self._held.append(outcome)
        return []

    @property
    def are_too_many(self) -> bool:
        """Whether it is time to find out whose fault they are."""
        return len(self._held) >= self._enough

    def release(self) -> Sequence[Failure]:
        """Give all that are held back, and hold them no longer."""
        held, self._held = self._held, []
        return held

    def explain(self, failures: Sequence[Failure], trivial: Failure) -> StageError:
        """Say that it is the endpoints, not the requests: a trivial one with the same parameters failed as well.

        Returns:
            EndpointRefuses, which is wrong input unless they answered before; or EndpointUnreachable.
        """
        number = len(failures)
        unsettled = "None of these requests is settled: they will be asked again"
        if trivial.reason != Kind.REFUSED.value:
            what = f"{number} requests in a row failed, and so did a trivial one: {trivial.message}. {unsettled}"
            return Retryable("EndpointUnreachable", what)
        which = "last" if self.answered else "first"
        what = (
            f"each of the {which} {number} requests failed, the last time {failures[-1].message}, and a trivial one "
            f"with the same parameters was refused; correct the server's limits or what is asked of it. {unsettled}"
        )
        return (Retryable if self.answered else WrongInput)("EndpointRefuses", what)
