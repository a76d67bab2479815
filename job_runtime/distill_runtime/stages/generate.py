"""Generate: ask the teacher for chains of thought.

Each generation of each prompt of the shard becomes one line of `generations.jsonl` (see `client.journal`), which is
both the journal that a restarted stage resumes from and the artifact. A generation that failed for good has its line
too, so that the counts always close:

    rows        = prompts + every `rejected.…`
    generations = prompts x generationsPerPrompt - notAsked = answered + failed
    answered    = every `finish.…`, failed = every `failed.…`

With a contract that says how the answers will be filtered, a sample of them is judged as they arrive, and the stage
stops when too few will be accepted (see `generation.forecast`). What it has stays in the journal.

`notAsked` is there only when a budget ended the asking. `promptTokens` and `completionTokens` are what was paid for;
`discardedTokens` of them are of answers that were cut off and asked for again with more tokens. `uncountedAnswers`
are those whose tokens the endpoint has not counted, so that they are in none of these. Where there are several
teachers, `teachers.<number>.…` has the same of each, in the order of `teacher.models`.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

from distill_runtime.client.adoption import adopt, earlier_journals
from distill_runtime.client.ask import Client
from distill_runtime.client.journal import Journal, Tally
from distill_runtime.client.served_model import fingerprint_endpoints
from distill_runtime.client.values import Request, chat_body, request_key
from distill_runtime.contract import GenerateContract, InputFingerprint, Result, TeacherParameters, shard_output
from distill_runtime.foundation.boxes import unasked_box
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.foundation.rows import GENERATIONS_NAME, PROMPTS
from distill_runtime.generation.asking import ask_what_is_missing, budget_is_spent, open_forecast
from distill_runtime.generation.changed_prompts import refuse_changed_prompts
from distill_runtime.generation.progress import count_outcomes, describe_costs
from distill_runtime.generation.teachers import client_settings, teacher_of
from distill_runtime.process import event_loop
from distill_runtime.process.stage import StageContext
from distill_runtime.sources.fingerprint import fingerprint_source
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.prompts import Prompt, Survey, open_prompts
from distill_runtime.storage.artifact import ArtifactWriter, partial_directory
from distill_runtime.storage.inputs import refuse_changes


def fingerprints(contract: GenerateContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the prompts are, and a teacher on the volume with what serves it.

    Which endpoint answers may change; the artifact notes those that did last.

    Raises:
        WrongInput, Retryable: as `fingerprint_source` and `fingerprint_teacher`.
    """
    prompts, served = contract.prompts, contract.served
    asked = fingerprint_source(PROMPTS, prompts.uri, context.volume, Selection(prompts.subset, prompts.split))
    if served is None:
        return (asked,)
    from distill_runtime.serving.teacher import fingerprint_teacher  # noqa: PLC0415 - see there

    return asked, *fingerprint_teacher(served, context)


def run(contract: GenerateContract, context: StageContext) -> Result:
    """Ask everything that is not in the journal yet, and finish the shard's artifact.

    Raises:
        WrongInput: as `sources.prompts.open_prompts`, `client.ask.Client`, `open_forecast` and `served_teacher`;
            InputChanged, NothingAnswered or AcceptanceRateTooLow.
        Retryable: as `ask_what_is_missing`, or JournalInUse.
    """
    index, shards, teacher = context.index, contract.shards, contract.teacher
    output = shard_output(contract.output, index, shards)
    context.reporter.update(message="reading the prompts")
    prompts = open_prompts(contract.prompts, context.volume)
    survey = prompts.survey(index, shards)
    total = survey.prompts * teacher.sampling.generations_per_prompt
    context.reporter.update(counts={"prompts": survey.prompts})

    def requests() -> Iterator[Request]:
        for prompt in prompts.read(index, shards, survey.repeated):
            yield from prompt_requests(teacher, prompt)

    journal_path = partial_directory(context.volume.resolve(output)) / GENERATIONS_NAME
    refuse_changed_prompts(contract, context, journal_path, requests())
    # Rows may be added to what is asked; the teacher stays who it is.
    refuse_changes(context.volume, contract.model_copy(update={"output": output}), context.fingerprints[1:])
    writer = ArtifactWriter(context.volume, contract.model_copy(update={"output": output}), context.fingerprints)
    answering: list[Sequence[str]] = []
    with Journal(journal_path) as journal:
        earlier = earlier_journals(contract, context.volume.resolve(contract.output), GENERATIONS_NAME)
        if earlier:
            context.reporter.update(message="taking over the answers of earlier shards")
            adopt(journal, earlier, requests())
        if journal.tally.outcomes < total:
            with _served(contract, context) as check_server:
                answering = ask_what_is_missing(contract, context, requests, journal, total, check_server)
        counts = count(contract, survey, journal.tally)
        if budget_is_spent(contract, journal.tally) and journal.tally.outcomes < total:
            counts["notAsked"] = total - journal.tally.outcomes
    _check_answers(counts, total)
    metrics = _metrics(counts)
    warning = _unasked_box(contract)
    costs = describe_costs(contract, journal.tally)
    endpoints = event_loop.run(_fingerprint_teachers(contract, context, answering))
    return Result(
        outcome="Succeeded",
        reason="Generated",
        message=f"the teacher answered {counts['answered']} of {total} generations"
        + (f"; the budget left {counts['notAsked']} unasked" if "notAsked" in counts else "")
        + (f"; they cost {costs}" if costs else "")
        + (f"; {warning}" if warning else ""),
        artifact=writer.finish(counts, metrics, noted=endpoints),
        counts=counts,
        metrics=metrics,
        inputs=tuple(endpoints),
    )


def check(contract: GenerateContract, context: StageContext) -> None:
    """Read the prompts, and ask the endpoints which models they serve.

    Raises:
        WrongInput: where `run` would.
    """
    open_prompts(contract.prompts, context.volume).survey(context.index, contract.shards)
    if contract.forecast is not None:
        open_forecast(contract.forecast)
    if contract.served is not None:
        from distill_runtime.serving.teacher import check_teacher  # noqa: PLC0415 - see there

        check_teacher(contract.served, context)
    elsewhere = client_settings(contract, context)[0 if contract.served is None else 1 :]

    async def check_endpoints() -> None:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as checks:
            for settings in elsewhere:
                client = await stack.enter_async_context(Client(settings))
                checks.create_task(client.check_endpoints())

    event_loop.run(check_endpoints())


@contextmanager
def _served(contract: GenerateContract, context: StageContext) -> Iterator[Callable[[int], str]]:
    """Have the server beside the stage ready, if there is one, and give what tells that it is given up.

    Raises:
        WrongInput, Retryable: as `served_teacher`.
    """
    if contract.served is None:
        yield lambda _outcomes: ""
        return
    from distill_runtime.serving.teacher import served_teacher  # noqa: PLC0415 - see there

    with served_teacher(contract, contract.served, context) as check_server:
        yield check_server


async def _fingerprint_teachers(
    contract: GenerateContract, context: StageContext, answering: Sequence[Sequence[str]]
) -> list[InputFingerprint]:
    """Tell what each teacher's endpoints serve: those that answer, since one that hangs would keep a finished shard
    waiting. A server beside the stage is among the inputs already."""
    found = []
    for number, each in enumerate(client_settings(contract, context)):
        if number or contract.served is None:
            endpoints = (answering[number] if answering else ()) or each.endpoints
            found += await fingerprint_endpoints(replace(each, endpoints=endpoints))
    return found


def prompt_requests(teacher: TeacherParameters, prompt: Prompt) -> Iterator[Request]:
    """Give the requests for all generations of a prompt."""
    sampling = teacher.sampling
    longer = sampling.retry_truncated_max_tokens
    for generation in range(sampling.generations_per_prompt):
        model = teacher.models[teacher_of(teacher, prompt.uuid, generation)].model
        body = chat_body(
            model,
            system_prompt=teacher.system_prompt,
            user_prompt=teacher.user_message(prompt.text),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=None if sampling.seed is None else sampling.seed + generation,
            examples=teacher.examples,
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
            teacher=model if teacher.additional_models else None,
        )


def _unasked_box(contract: GenerateContract) -> str | None:
    if contract.filter is None:
        return None
    prompts = (*contract.teacher.texts, contract.prompts.problem_template or "")
    return unasked_box(contract.filter.verifier, prompts)


def count(contract: GenerateContract, survey: Survey, tally: Tally) -> dict[str, int]:
    """Put together the counts of the result and the manifest."""
    return {
        "rows": survey.rows,
        "prompts": survey.prompts,
        **{f"rejected.{reason}": number for reason, number in sorted(survey.rejected.items())},
        **count_outcomes(contract, tally),
    }


def _metrics(counts: dict[str, int]) -> dict[str, float]:
    """Give the figures of the answers that were counted; there are none where no prompt fell to the shard."""
    counted = counts["answered"] - counts.get("uncountedAnswers", 0)
    if not counted:
        return {}
    kept_tokens = counts["completionTokens"] - counts.get("discardedTokens", 0)
    return {"meanCompletionTokens": kept_tokens / counted}


def _check_answers(counts: dict[str, int], total: int) -> None:
    settled = counts["generations"] + counts.get("notAsked", 0)
    if settled != total:
        raise RuntimeError(f"{settled} generations are settled, {total} were to be asked")
    if counts["generations"] and not counts["answered"]:
        failures = ", ".join(name for name in counts if name.startswith("failed."))
        raise WrongInput(
            "NothingAnswered",
            f"all {counts['generations']} generations that were asked for failed ({failures}); their messages are in "
            f"{GENERATIONS_NAME}",
        )
