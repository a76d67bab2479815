"""Generate: ask the teacher for chains of thought.

Each generation of each prompt of the shard becomes one line of `generations.jsonl` (see `client.journal`), which is
both the journal that a restarted stage resumes from and the artifact. A generation that failed for good has its line
too, so that the counts always close:

    rows        = prompts + every `rejected.…`
    generations = prompts x generationsPerPrompt - notAsked = answered + failed
    answered    = every `finish.…`, failed = every `failed.…`

`notAsked` is there only when a budget ended the asking. `promptTokens` and `completionTokens` are what was paid for;
`discardedTokens` of them are of answers that were cut off and asked for again with more tokens.
"""

import asyncio
from collections.abc import Iterator
from itertools import takewhile

from distill_runtime import event_loop
from distill_runtime.artifact import ArtifactWriter
from distill_runtime.client.adoption import adopt, earlier_journals
from distill_runtime.client.ask import Client, ClientSettings
from distill_runtime.client.journal import Journal, Tally
from distill_runtime.client.output_cap import OutputCapDetector
from distill_runtime.client.values import Outcome, Request, chat_body, request_key
from distill_runtime.contract import GenerateContract, Price, Result, TeacherParameters, shard_output
from distill_runtime.contract.parameters import PROMPT_PLACEHOLDER
from distill_runtime.errors import WrongInput
from distill_runtime.progress import Reporter
from distill_runtime.rows import GENERATIONS_NAME
from distill_runtime.sources.prompts import Prompt, Survey, open_prompts
from distill_runtime.stage import StageContext

_REPORT_SECONDS = 1.0


def run(contract: GenerateContract, context: StageContext) -> Result:
    """Ask everything that is not in the journal yet, and finish the shard's artifact.

    Raises:
        WrongInput: as `sources.prompts.open_prompts`, `client.ask.Client` and NothingAnswered.
        Retryable: EndpointUnreachable or JournalInUse.
    """
    index, shards, teacher = context.index, contract.shards, contract.teacher
    output = shard_output(contract.output, index, shards)
    writer = ArtifactWriter(context.volume, contract.model_copy(update={"output": output}))
    context.reporter.update(message="reading the prompts")
    prompts = open_prompts(contract.prompts, context.volume)
    survey = prompts.survey(index, shards)
    total = survey.prompts * teacher.sampling.generations_per_prompt
    context.reporter.update(counts={"prompts": survey.prompts})
    # A shard knows of its own tokens only: what all of them cost is said where their counts are added up.
    price = teacher.price if shards == 1 else None

    def requests() -> Iterator[Request]:
        for prompt in prompts.read(index, shards, survey.repeated):
            yield from prompt_requests(teacher, prompt)

    with Journal(writer.directory / GENERATIONS_NAME) as journal:
        earlier = earlier_journals(contract, context.volume.resolve(contract.output), GENERATIONS_NAME)
        if earlier:
            context.reporter.update(message="taking over the answers of earlier shards")
            adopt(journal, earlier, (request.key for request in requests()))
        if journal.tally.outcomes < total:
            missing = (request for request in requests() if request.key not in journal)
            affordable = takewhile(lambda _: not _budget_is_spent(contract, journal.tally), missing)
            event_loop.run(_ask(_settings(contract, context), affordable, journal, total, price, context.reporter))
        counts = count(survey, journal.tally)
        if _budget_is_spent(contract, journal.tally) and journal.tally.outcomes < total:
            counts["notAsked"] = total - journal.tally.outcomes
    _check_answers(counts, total)
    kept_tokens = counts["completionTokens"] - counts.get("discardedTokens", 0)
    metrics = {"meanCompletionTokens": kept_tokens / counts["answered"]}
    return Result(
        outcome="Succeeded",
        reason="Generated",
        message=f"the teacher answered {counts['answered']} of {total} generations"
        + (f"; the budget left {counts['notAsked']} unasked" if "notAsked" in counts else "")
        + (f"; they cost {price.cost(counts['promptTokens'], counts['completionTokens'])}" if price else ""),
        artifact=writer.finish(counts, metrics),
        counts=counts,
        metrics=metrics,
    )


def check(contract: GenerateContract, context: StageContext) -> None:
    """Read the prompts, and ask the endpoints which models they serve.

    Raises:
        WrongInput: where `run` would.
    """
    open_prompts(contract.prompts, context.volume).survey(context.index, contract.shards)

    async def check_endpoints() -> None:
        async with Client(_settings(contract, context)) as client:
            await client.check_endpoints()

    event_loop.run(check_endpoints())


def prompt_requests(teacher: TeacherParameters, prompt: Prompt) -> Iterator[Request]:
    """Give the requests for all generations of a prompt."""
    sampling = teacher.sampling
    user_prompt = teacher.prompt_template.replace(PROMPT_PLACEHOLDER, prompt.text)
    longer = sampling.retry_truncated_max_tokens
    for generation in range(sampling.generations_per_prompt):
        body = chat_body(
            teacher.model,
            system_prompt=teacher.system_prompt,
            user_prompt=user_prompt,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=None if sampling.seed is None else sampling.seed + generation,
        )
        yield Request(
            key=request_key(prompt.uuid, generation),
            body=body,
            body_if_truncated=None if longer is None else {**body, "max_tokens": longer},
            record={
                "uuid": prompt.uuid,
                "generation": generation,
                "position": prompt.position,
                "prompt": prompt.text,
                "answer": prompt.answer,
                "source": prompt.source,
            },
        )


def count(survey: Survey, tally: Tally) -> dict[str, int]:
    """Put together the counts of the result and the manifest."""
    return {
        "rows": survey.rows,
        "prompts": survey.prompts,
        **{f"rejected.{reason}": number for reason, number in sorted(survey.rejected.items())},
        **count_outcomes(tally),
    }


def count_outcomes(tally: Tally) -> dict[str, int]:
    """Put together the counts of what was asked so far."""
    return {
        "generations": tally.outcomes,
        "answered": tally.finish_reasons.total(),
        "failed": tally.failures.total(),
        **{f"finish.{reason}": number for reason, number in sorted(tally.finish_reasons.items())},
        **{f"failed.{reason}": number for reason, number in sorted(tally.failures.items())},
        "promptTokens": tally.prompt_tokens,
        "completionTokens": tally.completion_tokens,
        **({"discardedTokens": tally.discarded_completion_tokens} if tally.discarded_completion_tokens else {}),
        "requests": tally.attempts,
    }


async def _ask(
    settings: ClientSettings,
    requests: Iterator[Request],
    journal: Journal,
    total: int,
    price: Price | None,
    reporter: Reporter,
) -> None:
    # First of all, so that what an earlier Pod did is not taken for speed.
    reporter.update(done=journal.tally.outcomes, total=total, counts=count_outcomes(journal.tally))
    cap = OutputCapDetector()

    def take(outcome: Outcome) -> None:
        journal.append(outcome)
        cap.observe(outcome)

    async with Client(settings) as client:
        await client.check_endpoints()
        async with asyncio.TaskGroup() as background:
            tasks = (
                background.create_task(journal.keep_flushed()),
                background.create_task(_keep_reporting(client, journal.tally, total, price, reporter)),
            )
            await client.ask_all(requests, take)
            for task in tasks:
                task.cancel()
    reporter.update(done=journal.tally.outcomes, counts=count_outcomes(journal.tally), message="finishing")


async def _keep_reporting(client: Client, tally: Tally, total: int, price: Price | None, reporter: Reporter) -> None:
    """Say every second how far it is and what is the matter, until cancelled."""
    loop = asyncio.get_running_loop()
    started, tokens_before = loop.time(), tally.completion_tokens
    while True:
        trouble = client.describe_trouble()
        doing = f"{trouble}; {tally.outcomes} of {total} done; retrying" if trouble else "asking the teacher"
        if price is not None:
            doing += f"; {price.cost(tally.prompt_tokens, tally.completion_tokens)} so far"
        seconds = max(loop.time() - started, _REPORT_SECONDS)
        reporter.update(
            done=tally.outcomes,
            message=doing,
            counts=count_outcomes(tally),
            metrics={
                "inFlight": client.in_flight,
                "tokensPerSecond": (tally.completion_tokens - tokens_before) / seconds,
            },
        )
        await asyncio.sleep(_REPORT_SECONDS)


def _budget_is_spent(contract: GenerateContract, tally: Tally) -> bool:
    """Tell whether the shard has used up its part of a budget."""
    budgets = (
        (contract.teacher.token_budget, tally.completion_tokens),
        (contract.teacher.request_budget, tally.attempts),
    )
    return any(budget is not None and used >= budget / contract.shards for budget, used in budgets)


def _settings(contract: GenerateContract, context: StageContext) -> ClientSettings:
    teacher = contract.teacher
    return ClientSettings(
        endpoints=teacher.endpoints,
        model=teacher.model,
        api_key=context.api_key,
        # The shards share the number; rounded so that their parts add up to it, but at least one each.
        max_concurrent_requests=max(1, (teacher.max_concurrent_requests + context.index) // contract.shards),
        request_timeout_seconds=teacher.request_timeout_seconds,
        max_attempts=teacher.max_attempts,
        unavailable_timeout_seconds=teacher.unavailable_timeout_seconds,
        stall_timeout_seconds=teacher.stall_timeout_seconds,
    )


def _check_answers(counts: dict[str, int], total: int) -> None:
    settled = counts["generations"] + counts.get("notAsked", 0)
    if settled != total:
        raise RuntimeError(f"{settled} generations are settled, {total} were to be asked")
    if not counts["answered"]:
        failures = ", ".join(name for name in counts if name.startswith("failed."))
        raise WrongInput(
            "NothingAnswered",
            f"all {total} generations failed ({failures}); their messages are in {GENERATIONS_NAME}",
        )
