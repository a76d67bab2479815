"""Asking a judge what is not in its journal yet.

The journal is part of the artifact: what a judge said, and why, can be looked up, and a stage that starts again asks
nothing twice.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.journal import Journal
from distill_runtime.client.served_model import fingerprint_endpoint
from distill_runtime.client.values import Request
from distill_runtime.contract import InputFingerprint, Judge
from distill_runtime.contract.parameters import MAX_ATTEMPTS, UNAVAILABLE_TIMEOUT_SECONDS
from distill_runtime.foundation.errors import StageError
from distill_runtime.judge.verdicts import Item, Judgement, open_verdicts, read_judgements
from distill_runtime.process import event_loop
from distill_runtime.process.stage import StageContext

JUDGEMENTS_NAME: Final = "judgements.jsonl"
"""File of an artifact: what the judge was asked about and what it said (see `client.journal`)."""

_REPORT_SECONDS: Final = 1.0


def fingerprint_judge(judge: Judge | None, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell which model the judge's endpoint serves; nothing without a judge.

    Raises:
        Retryable: EndpointUnreachable.
    """
    if judge is None:
        return ()
    context.reporter.update(message="asking the judge's endpoint which model it serves")
    with _of_the_judge():
        served = event_loop.run(fingerprint_endpoint(_settings(judge, context)))
    return (served.model_copy(update={"name": "judge"}),)


def check_judge(judge: Judge | None, context: StageContext) -> None:
    """Make sure that a judge, if there is one, can be asked and understood.

    Raises:
        WrongInput: InvalidPattern, EndpointMisconfigured or ModelNotServed.
    """
    if judge is None:
        return
    open_verdicts(judge)

    async def check() -> None:
        async with Client(_settings(judge, context)) as client:
            await client.check_endpoints()

    with _of_the_judge():
        event_loop.run(check())


def ask_judge(
    judge: Judge,
    asked: Callable[[], Iterable[tuple[Item, Request]]],
    at_most: int,
    journal: Path,
    context: StageContext,
) -> Generator[tuple[Item, Judgement], None, None]:
    """Ask the judge about answers, as far as the journal has no outcome of it yet.

    Args:
        asked: gives the answers, each with what is asked about it; called twice. They are read only as fast as they are
            asked about, and those with the same key are asked once.
        at_most: how many there may be, which the progress adds to what is done already.
        journal: its file, made if need be.

    Returns:
        What it says of each, in their order, as `read_judgements`.

    Raises:
        WrongInput: as `client.ask.Client`, or JournalDamaged.
        Retryable: EndpointUnreachable or JournalInUse; what was answered is kept.
    """
    done = context.reporter.snapshot().done

    def report(outcomes: int, doing: str) -> None:
        number = min(outcomes, at_most)
        context.reporter.update(done=done + number, message=f"{doing} about {number} of at most {at_most} answers")

    context.reporter.update(total=done + at_most)
    with _of_the_judge(), Journal(journal) as outcomes:
        missing = _missing((request for _, request in asked()), outcomes)
        event_loop.run(_ask(_settings(judge, context), missing, outcomes, report))
    return read_judgements(judge, ((item, request.key) for item, request in asked()), journal)


def _missing(requests: Iterable[Request], journal: Journal) -> Iterator[Request]:
    under_way: set[int] = set()
    for request in requests:
        key = int(request.key, 16)
        if request.key not in journal and key not in under_way:
            under_way.add(key)
            yield request


async def _ask(
    settings: ClientSettings, missing: Iterator[Request], journal: Journal, report: Callable[[int, str], None]
) -> None:
    async with Client(settings) as client, asyncio.TaskGroup() as background:
        tasks = (
            background.create_task(journal.keep_flushed()),
            background.create_task(_keep_reporting(client, journal, report)),
        )
        await client.ask_all(missing, journal.append)
        for task in tasks:
            task.cancel()
    report(journal.tally.outcomes, "asking the judge")


async def _keep_reporting(client: Client, journal: Journal, report: Callable[[int, str], None]) -> None:
    while True:
        trouble = client.describe_trouble()
        report(journal.tally.outcomes, f"asking the judge{trouble and f': {trouble}'}")
        await asyncio.sleep(_REPORT_SECONDS)


def _settings(judge: Judge, context: StageContext) -> ClientSettings:
    return ClientSettings(
        endpoints=[judge.endpoint.url],
        model=judge.endpoint.model,
        api_key=context.judge_api_key,
        max_concurrent_requests=judge.max_concurrent_requests,
        request_timeout_seconds=judge.request_timeout_seconds,
        max_attempts=MAX_ATTEMPTS,
        unavailable_timeout_seconds=UNAVAILABLE_TIMEOUT_SECONDS,
    )


@contextmanager
def _of_the_judge() -> Iterator[None]:
    """Say of a failure that it is the judge's: a stage may have other endpoints."""
    try:
        yield
    except StageError as error:
        raise type(error)(error.reason, f"the judge: {error.message}", error.failure_class) from error
