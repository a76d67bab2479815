"""Artifacts of the generate stage, without a teacher."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_runtime.client.journal import Journal
from distill_runtime.client.values import Answer, Failure, Outcome, Reply, Request, request_key
from distill_runtime.contract import (
    GenerateContract,
    InputFingerprint,
    Price,
    PromptSource,
    TeacherModel,
    TeacherParameters,
    shard_output,
)
from distill_runtime.foundation.rows import GENERATIONS_NAME, PROMPTS
from distill_runtime.storage.artifact import ArtifactWriter
from distill_runtime.storage.volume import Volume

ENDPOINT = "http://teacher/v1"
PRICE = Price(prompt_tokens_per_million=1, completion_tokens_per_million=2)


@dataclass(frozen=True)
class Generation:
    """What the teacher said of a prompt."""

    uuid: str
    index: int
    answer: str
    content: str = ""
    reasoning: str | None = None
    finish_reason: str = "stop"
    failure: str | None = None
    source: str | None = None
    teacher: str | None = None


def write_generate_artifacts(
    root: Path,
    shards: Sequence[Iterable[Generation]],
    output: str = "generate",
    source_column: str | None = None,
    prompts: Sequence[str] = (),
    additional_models: Sequence[str] = (),
) -> None:
    """Write one artifact a shard; `prompts` is what each tells the content of its prompts by, if it does."""
    others = tuple(TeacherModel(model=model, endpoints=(ENDPOINT,), price=PRICE) for model in additional_models)
    contract = GenerateContract(
        output=output,
        prompts=PromptSource(uri="prompts.jsonl", source_column=source_column),
        teacher=TeacherParameters(endpoints=(ENDPOINT,), model="teacher", price=PRICE, additional_models=others),
        shards=len(shards),
    )
    for index, generations in enumerate(shards):
        output_of_shard = shard_output(output, index, len(shards))
        value = prompts[index] if prompts else ""
        asked = [InputFingerprint(name=PROMPTS, uri="prompts.jsonl", value=value)] if value else []
        writer = ArtifactWriter(Volume(root), contract.model_copy(update={"output": output_of_shard}), asked)
        with Journal(writer.directory / GENERATIONS_NAME) as journal:
            for generation in generations:
                journal.append(_outcome(generation))
            count = journal.tally.outcomes
        writer.finish({"generations": count}, {})


def _outcome(generation: Generation) -> Outcome:
    record = {
        "uuid": generation.uuid,
        "generation": generation.index,
        "position": 0,
        "prompt": f"the problem {generation.uuid}",
        "answer": generation.answer,
        "source": generation.source,
    }
    request = Request(request_key(generation.uuid, generation.index), {}, record, teacher=generation.teacher)
    if generation.failure:
        return Failure(request, generation.failure, "it said no", ENDPOINT, 1)
    reply = Reply(generation.content, generation.reasoning, generation.finish_reason, 10, 20, "teacher")
    return Answer(request, reply, ENDPOINT, 1, 0.1)
