"""Asking the student what is not in the journal yet."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.journal import Journal
from distill_runtime.client.output_cap import OutputCapDetector, is_cut_short
from distill_runtime.client.values import Outcome, Request, chat_body, request_key
from distill_runtime.contract import Protocol
from distill_runtime.contract.parameters import MAX_ATTEMPTS, UNAVAILABLE_TIMEOUT_SECONDS
from distill_runtime.contract.stages import EndpointTarget, WeightsTarget
from distill_runtime.evaluation.judging import Judging
from distill_runtime.process.stage import StageContext
from distill_runtime.sources.prompts import Prompt

_REPORT_SECONDS = 1.0


def sample_requests(protocol: Protocol, model: str, prompts: Sequence[Prompt]) -> Iterator[Request]:
    """Give the requests for all samples of all problems."""
    for prompt in prompts:
        for number in range(protocol.samples_per_problem):
            yield Request(
                key=request_key(prompt.uuid, number),
                body=chat_body(
                    model,
                    system_prompt=protocol.system_prompt,
                    user_prompt=protocol.user_message(prompt.text),
                    max_tokens=protocol.max_tokens,
                    temperature=protocol.temperature,
                    top_p=protocol.top_p,
                    seed=protocol.seed + number,
                    examples=protocol.examples,
                ),
                record={"uuid": prompt.uuid, "sample": number},
            )


def client_settings(
    protocol: Protocol, context: StageContext, target: WeightsTarget | EndpointTarget
) -> ClientSettings:
    """Give how the student is asked. A server beside the stage is waited for as long as it may take to start again."""
    patience = UNAVAILABLE_TIMEOUT_SECONDS
    if isinstance(target, WeightsTarget):
        patience += target.server.start_seconds
    return ClientSettings(
        endpoints=[target.url],
        model=target.model,
        api_key=context.api_key,
        max_concurrent_requests=protocol.max_concurrent_requests,
        request_timeout_seconds=protocol.request_timeout_seconds,
        max_attempts=MAX_ATTEMPTS,
        unavailable_timeout_seconds=patience,
    )


async def ask_endpoint(
    settings: ClientSettings, missing: Iterator[Request], journal: Journal, judging: Judging, context: StageContext
) -> None:
    """Ask a server that is somebody else's.

    Answers that it cut short of maxTokens are recorded last: if a limit of the server's shows in them, which somebody
    can raise, they must be asked for again, and would lower the score.

    Raises:
        WrongInput: EndpointCapsOutput, or as `client.ask.Client`.
        Retryable: EndpointUnreachable, or as `Judging.check`.
    """
    cap = OutputCapDetector()
    cut_short: list[Outcome] = []

    def take(outcome: Outcome) -> None:
        cap.observe(outcome)
        if is_cut_short(outcome):
            cut_short.append(outcome)
        else:
            journal.append(outcome)

    await _ask(settings, missing, take, lambda _answered: "", judging, context, journal)
    for outcome in cut_short:
        journal.append(outcome)


async def ask_server_beside(
    settings: ClientSettings,
    missing: Iterator[Request],
    check_server: Callable[[int], str],
    journal: Journal,
    judging: Judging,
    context: StageContext,
) -> None:
    """Ask the server beside the stage, which cuts answers by itself only where the model's context ends.

    Args:
        check_server: is told how many answers there are; says how the server has ended since, and raises if it is
            given up.

    Raises:
        WrongInput: as `client.ask.Client`.
        Retryable: EndpointUnreachable, or as `check_server` and `Judging.check`.
    """
    await _ask(settings, missing, journal.append, check_server, judging, context, journal)


async def _ask(
    settings: ClientSettings,
    missing: Iterator[Request],
    take: Callable[[Outcome], None],
    check_server: Callable[[int], str],
    judging: Judging,
    context: StageContext,
    journal: Journal,
) -> None:
    async with Client(settings) as client, asyncio.TaskGroup() as background:
        tasks = (
            background.create_task(journal.keep_flushed()),
            background.create_task(_keep_watch(client, check_server, judging, context, journal)),
        )
        await client.ask_all(missing, take)
        for task in tasks:
            task.cancel()


async def _keep_watch(
    client: Client, check_server: Callable[[int], str], judging: Judging, context: StageContext, journal: Journal
) -> None:
    """Say every second how far it is, and end everything if the server beside it is given up, until cancelled."""
    while True:
        ended = check_server(journal.tally.outcomes)
        judging.check()
        report_judging(judging, context, ended or client.describe_trouble() or "asking the student")
        await asyncio.sleep(_REPORT_SECONDS)


def report_judging(judging: Judging, context: StageContext, doing: str) -> None:
    """Say how far it is: a sample is done when it is judged."""
    context.reporter.update(done=judging.judged, message=doing, counts=judging.counts, metrics=judging.metrics)
