"""Asking what is not in the journal yet."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import takewhile
from typing import TYPE_CHECKING

from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.journal import Journal, Tally
from distill_runtime.client.output_cap import OutputCapDetector
from distill_runtime.client.values import Answer, Outcome, Request
from distill_runtime.contract import FilterParameters, GenerateContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.generation.progress import AskingProgress, price_of_all
from distill_runtime.process import event_loop
from distill_runtime.process.stage import StageContext

if TYPE_CHECKING:
    from distill_runtime.generation.forecast import Forecast

_CHECK_SECONDS = 1.0
_MOST_UNCOUNTED, _MOST_UNCOUNTED_SHARE = 10, 0.01
"""Answers without usage, and share of all outcomes, after which a token budget is no use."""


def ask_what_is_missing(
    contract: GenerateContract,
    context: StageContext,
    missing: Iterator[Request],
    journal: Journal,
    total: int,
    check_server: Callable[[int], str],
) -> Sequence[str]:
    """Ask until everything is settled, a budget is spent, or it is certain that the filter will reject too much.

    Args:
        check_server: is told how many outcomes there are, once a second; raises if there is no use in asking on.

    Returns:
        the endpoints that answer at the end; none if there was no use in asking.

    Raises:
        WrongInput: AcceptanceRateTooLow or NoUsage, or as `client.ask.Client`.
        Retryable: EndpointUnreachable or VerifierPoolBroken.
        StageError: as `check_server`.
    """
    tally = journal.tally
    answering: Sequence[str] = ()

    def is_worthwhile(_: Request) -> bool:
        if budget_is_spent(contract, tally):
            return False
        return forecast is None or not forecast.is_hopeless(tally.outcomes, total)

    with ExitStack() as stack:
        forecast = None if contract.forecast is None else stack.enter_context(open_forecast(contract.forecast))
        if forecast is not None and tally.outcomes >= forecast.window.size:
            context.reporter.update(message="judging the answers that are there")
            forecast.judge_records(journal.read_sample(forecast.window.size))
        if forecast is None or not forecast.is_hopeless(tally.outcomes, total):
            worthwhile = takewhile(is_worthwhile, missing)
            progress = AskingProgress(context.reporter, tally, total, price_of_all(contract), forecast)
            answering = event_loop.run(_ask(contract, context, worthwhile, journal, progress, check_server))
    if forecast is not None and forecast.hopeless and tally.outcomes < total and not budget_is_spent(contract, tally):
        raise WrongInput(
            "AcceptanceRateTooLow",
            f"{forecast.hopeless}. {tally.outcomes} of {total} generations are done, and kept in "
            f"{context.volume.relative(journal.path)}. Look at some of them: is it the right model, does the prompt "
            "ask for a \\boxed{}, are the reference answers bare? Or lower the rate: created again under the same "
            "name, with the same source and sampling, the dataset goes on with what it has. That has copies of the "
            "reference answers: once they are corrected, give the source another uri, or remove "
            f"{contract.output} from the claim before it runs again; all is asked again.",
        )
    return answering


def open_forecast(parameters: FilterParameters) -> "Forecast":
    """Give a judge of the answers to come.

    Raises:
        WrongInput: InvalidPattern or VerifierMissing.
    """
    from distill_runtime.generation.forecast import Forecast  # noqa: PLC0415 - a verifier costs nothing where none works

    return Forecast(parameters)


async def _ask(
    contract: GenerateContract,
    context: StageContext,
    requests: Iterator[Request],
    journal: Journal,
    progress: AskingProgress,
    check_server: Callable[[int], str],
) -> Sequence[str]:
    # First of all, so that what an earlier Pod did is not taken for speed.
    progress.begin()
    cap = OutputCapDetector()
    forecast = progress.forecast

    def take(outcome: Outcome) -> None:
        journal.append(outcome)
        cap.observe(outcome)
        _check_usage(contract, outcome, journal.tally)
        if forecast is not None:
            forecast.take(outcome)

    async with Client(client_settings(contract, context)) as client, asyncio.TaskGroup() as background:
        tasks = (
            background.create_task(journal.keep_flushed()),
            background.create_task(progress.keep_reporting(client)),
            background.create_task(_keep_checking(check_server, journal.tally)),
        )
        await client.ask_all(requests, take)
        for task in tasks:
            task.cancel()
    progress.end()
    return client.answering


async def _keep_checking(check_server: Callable[[int], str], tally: Tally) -> None:
    while True:
        check_server(tally.outcomes)
        await asyncio.sleep(_CHECK_SECONDS)


def _check_usage(contract: GenerateContract, outcome: Outcome, tally: Tally) -> None:
    """Make sure that a token budget can be kept.

    Raises:
        WrongInput: NoUsage.
    """
    if contract.teacher.token_budget is None:
        return
    if tally.uncounted < max(_MOST_UNCOUNTED, _MOST_UNCOUNTED_SHARE * tally.outcomes):
        return
    if isinstance(outcome, Answer) and outcome.reply.completion_tokens is None:
        raise WrongInput(
            "NoUsage",
            f"{outcome.endpoint} does not report usage with its answers, so tokenBudget cannot be kept; have it report "
            "usage, or set requestBudget instead",
        )


def budget_is_spent(contract: GenerateContract, tally: Tally) -> bool:
    """Tell whether the shard has used up its part of a budget."""
    budgets = (
        (contract.teacher.token_budget, tally.completion_tokens),
        (contract.teacher.request_budget, tally.attempts),
    )
    return any(budget is not None and used >= budget / contract.shards for budget, used in budgets)


def client_settings(contract: GenerateContract, context: StageContext) -> ClientSettings:
    """Give the shard's part of how the teacher is asked. A server beside it may take its time to start again."""
    teacher, served = contract.teacher, contract.served
    return ClientSettings(
        endpoints=teacher.endpoints,
        model=teacher.model,
        api_key=context.api_key,
        # The shards share the number; rounded so that their parts add up to it, but at least one each.
        max_concurrent_requests=max(1, (teacher.max_concurrent_requests + context.index) // contract.shards),
        request_timeout_seconds=teacher.request_timeout_seconds,
        max_attempts=teacher.max_attempts,
        unavailable_timeout_seconds=teacher.unavailable_timeout_seconds
        + (served.server.start_seconds if served is not None else 0),
        stall_timeout_seconds=teacher.stall_timeout_seconds,
    )
