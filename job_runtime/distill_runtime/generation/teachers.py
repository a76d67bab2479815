"""Several teachers: who answers which generation, and what each is asked with."""

from collections.abc import Callable, Iterator
from functools import cache

from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.journal import Tally
from distill_runtime.client.values import Outcome, Request, request_key
from distill_runtime.contract import GenerateContract, TeacherParameters
from distill_runtime.contract.stages import ADDITIONAL_API_KEY_VARIABLE
from distill_runtime.foundation.errors import Retryable
from distill_runtime.process.stage import StageContext


def teacher_of(teacher: TeacherParameters, uuid: str, generation: int) -> int:
    """Give which of `teacher.models` answers a generation.

    A prompt's generations are dealt one after another, in an order in which each model comes as often as its weight
    says. Where in it a prompt begins follows from its uuid, so that with fewer generations than models all have their
    shares over the prompts together.
    """
    turns = _turns(tuple(each.weight for each in teacher.models))
    start = int(request_key(uuid, 0), 16)  # as good a hash of the uuid as any, and the same for ever
    return turns[(start + generation) % len(turns)]


@cache
def _turns(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Deal as many turns as the weights amount to, each model's as far apart as they can be.

    Smooth weighted round robin, as nginx has it: whose credit is largest is next, and pays what all are given.
    """
    credit = [0] * len(weights)
    turns = []
    for _ in range(sum(weights)):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        chosen = credit.index(max(credit))
        credit[chosen] -= sum(weights)
        turns.append(chosen)
    return tuple(turns)


def client_settings(contract: GenerateContract, context: StageContext) -> tuple[ClientSettings, ...]:
    """Give the shard's part of how each teacher is asked. A server beside it may take its time to start again."""
    teacher, served = contract.teacher, contract.served
    # The shards share the number; rounded so that their parts add up to it, but at least one each. So do the teachers.
    most = (teacher.max_concurrent_requests + context.index) // contract.shards
    weights = [each.weight for each in teacher.models]
    parts = [max(1, most * weight // sum(weights)) for weight in weights]
    parts[0] = max(1, most - sum(parts[1:]))
    return tuple(
        ClientSettings(
            endpoints=each.endpoints,
            model=each.model,
            api_key=_api_key(context, number),
            max_concurrent_requests=part,
            request_timeout_seconds=teacher.request_timeout_seconds,
            max_attempts=teacher.max_attempts,
            unavailable_timeout_seconds=teacher.unavailable_timeout_seconds
            + (served.server.start_seconds if served is not None and number == 0 else 0),
            stall_timeout_seconds=teacher.stall_timeout_seconds,
        )
        for number, (each, part) in enumerate(zip(teacher.models, parts, strict=True))
    )


def _api_key(context: StageContext, number: int) -> str | None:
    """Give a teacher's own key: one that is for another teacher is sent nowhere else."""
    if not number:
        return context.api_key
    return context.additional_api_keys.get(ADDITIONAL_API_KEY_VARIABLE.format(number=number))


class Teachers:
    """The clients of all teachers, which are asked at the same time.

    Args:
        settings: one a teacher.
        requests_of: gives what a teacher, by its number, has yet to answer.

    Attributes:
        clients: the one of each teacher at present, by its number, once it is open.
    """

    def __init__(self, settings: tuple[ClientSettings, ...], requests_of: Callable[[int], Iterator[Request]]) -> None:
        self._settings = settings
        self._requests_of = requests_of
        self._waiting: set[int] = set()
        self._done: set[int] = set()
        self.clients: dict[int, Client] = {}

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(client.in_flight for client in self.clients.values())

    def describe_trouble(self) -> str:
        """Say which endpoints fail, how, and since when; empty if all is well."""
        return "; ".join(filter(None, (client.describe_trouble() for client in self.clients.values())))

    async def ask(self, number: int, take: Callable[[Outcome], None]) -> None:
        """Ask one teacher all that it has yet to answer.

        While it is away the others go on, and it is asked again from time to time; once no other has anything left to
        do, the stage gives up as it does with a single teacher that is away.

        Raises:
            WrongInput, Retryable: as `Client.ask_all`.
        """

        def take_from_it(outcome: Outcome) -> None:
            take(outcome)
            self._waiting.discard(number)

        gave_up: ExceptionGroup[Retryable] | None = None
        while number not in self._done:
            try:
                # A new one each time: what an earlier one holds back of failures is asked again.
                async with Client(self._settings[number]) as self.clients[number]:
                    await self.clients[number].ask_all(self._requests_of(number), take_from_it)
                self._done.add(number)
            except* Retryable as away:
                gave_up = away
            if gave_up is not None:
                self._waiting.add(number)
                if len(self._waiting | self._done) == len(self._settings):
                    raise gave_up
                gave_up = None


def count_by_teacher(contract: GenerateContract, tally: Tally) -> dict[str, int]:
    """Give the counts of each of several teachers, by its number; the others' sum is in the counts of all."""
    counts: dict[str, int] = {}
    for number, each in enumerate(contract.teacher.models if contract.teacher.additional_models else ()):
        own = tally.by_teacher.get(each.model, Tally())
        counts |= {
            f"teachers.{number}.generations": own.outcomes,
            f"teachers.{number}.answered": own.finish_reasons.total(),
            f"teachers.{number}.promptTokens": own.prompt_tokens,
            f"teachers.{number}.completionTokens": own.completion_tokens,
            **({f"teachers.{number}.uncountedAnswers": own.uncounted} if own.uncounted else {}),
        }
    return counts
