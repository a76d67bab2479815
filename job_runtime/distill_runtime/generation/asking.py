"""Asking what is not in the journal yet."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from distill_runtime.client.journal import Journal, Tally
from distill_runtime.client.output_cap import OutputCapDetector
from distill_runtime.client.values import Answer, Outcome, Request
from distill_runtime.contract import FilterParameters, GenerateContract
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.generation.progress import AskingProgress
from distill_runtime.generation.teachers import Teachers, client_settings
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
    requests: Callable[[], Iterator[Request]],
    journal: Journal,
    total: int,
    check_server: Callable[[int], str],
) -> list[Sequence[str]]:
    """Ask until everything is settled, a budget is spent, or it is certain that the filter will reject too much.

    Args:
        requests: gives all of the shard, again whenever it is called.
        total: how many they are.
        check_server: is told how many outcomes there are, once a second; raises if there is no use in asking on.

    Returns:
        of each teacher, the endpoints that answer at the end; nothing if there was no use in asking.

    Raises:
        WrongInput: AcceptanceRateTooLow or NoUsage, or as `client.ask.Client`.
        Retryable: EndpointUnreachable or VerifierPoolBroken.
        StageError: as `check_server`.
    """
    tally = journal.tally
    answering: list[Sequence[str]] = []
    models = contract.teacher.models

    def is_worthwhile(_: Request) -> bool:
        if budget_is_spent(contract, tally):
            return False
        return forecast is None or not forecast.is_hopeless(tally.outcomes, total)

    def missing(number: int) -> Iterator[Request]:
        teacher = models[number].model if len(models) > 1 else None
        return takewhile(
            is_worthwhile, (each for each in requests() if each.teacher == teacher and each.key not in journal)
        )

    with ExitStack() as stack:
        forecast = None if contract.forecast is None else stack.enter_context(open_forecast(contract.forecast))
        if forecast is not None and tally.outcomes >= forecast.window.size:
            context.reporter.update(message="judging the answers that are there")
            forecast.judge_records(journal.read_sample(forecast.window.size))
        if forecast is None or not forecast.is_hopeless(tally.outcomes, total):
            progress = AskingProgress(contract, context.reporter, tally, total, forecast)
            answering = event_loop.run(_ask(contract, context, missing, journal, progress, check_server))
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
    requests_of: Callable[[int], Iterator[Request]],
    journal: Journal,
    progress: AskingProgress,
    check_server: Callable[[int], str],
) -> list[Sequence[str]]:
    # First of all, so that what an earlier Pod did is not taken for speed.
    progress.begin()
    forecast = progress.forecast

    def take(cap: OutputCapDetector, outcome: Outcome) -> None:
        journal.append(outcome)
        cap.observe(outcome)
        _check_usage(contract, outcome, journal.tally)
        if forecast is not None:
            forecast.take(outcome)

    settings = client_settings(contract, context)
    teachers = Teachers(settings, requests_of)
    async with asyncio.TaskGroup() as background:
        tasks = (
            background.create_task(journal.keep_flushed()),
            background.create_task(progress.keep_reporting(teachers)),
            background.create_task(_keep_checking(check_server, journal.tally, progress)),
        )
        async with asyncio.TaskGroup() as asking:
            for number in range(len(settings)):
                asking.create_task(teachers.ask(number, partial(take, OutputCapDetector())))
        for task in tasks:
            task.cancel()
    progress.end()
    return [teachers.clients[number].answering for number in range(len(settings))]


async def _keep_checking(check_server: Callable[[int], str], tally: Tally, progress: AskingProgress) -> None:
    while True:
        progress.server_ended = check_server(tally.outcomes)
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
