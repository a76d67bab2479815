"""Refusals, held back until it is known whose fault they are.

An endpoint that refuses a request may have something against this one, which is the same for ever, or against all of
them: their `max_tokens` is more than its context, it knows no system message. The second kind must not be taken for
the first: once the server is mended the requests are to be asked again, and an outcome never is.

So refusals of an endpoint that has answered nothing yet are held back. Its first answer makes them the requests' own;
if it refuses too many without one, the run ends, and nothing was recorded of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from distill_runtime.client.trouble import Kind
from distill_runtime.client.values import Answer, Failure, Outcome
from distill_runtime.foundation.errors import WrongInput

_REFUSALS_TO_GIVE_UP = 20


class Refusals:
    """Tells which outcomes are certain.

    Args:
        at_once: requests that are under way at once, at most. So many may be refused, and others be worked on for
            minutes before the first is answered: an endpoint that refuses more has accepted few, if any.
    """

    def __init__(self, at_once: int) -> None:
        self._enough = max(_REFUSALS_TO_GIVE_UP, at_once)
        self._answering: set[str] = set()
        self._held: defaultdict[str, list[Failure]] = defaultdict(list)

    def settle(self, outcome: Outcome) -> Sequence[Outcome]:
        """Take an outcome into account, and give those that are certain now.

        Raises:
            WrongInput: EndpointRefuses.
        """
        endpoint = outcome.endpoint
        if isinstance(outcome, Answer):
            self._answering.add(endpoint)
            return [*self._held.pop(endpoint, ()), outcome]
        if outcome.reason != Kind.REFUSED.value or endpoint in self._answering:
            return [outcome]
        held = self._held[endpoint]
        held.append(outcome)
        if len(held) == self._enough:
            raise endpoint_refuses(held)
        return []

    @property
    def held(self) -> Mapping[str, Sequence[Failure]]:
        """What is still uncertain, by endpoint; none of them is empty."""
        return self._held


def endpoint_refuses(refusals: Sequence[Failure]) -> WrongInput:
    """Say that it is the parameters, not the prompts."""
    return WrongInput(
        "EndpointRefuses",
        f"each of the first {len(refusals)} requests was refused; the last time {refusals[-1].message}; correct the "
        "server's limits or what is asked of it. None of these requests is settled: they will be asked again",
    )
