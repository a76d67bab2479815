"""What an artifact depends on, and what has no bearing on it."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from distill_runtime.contract import FilterContract, GenerateContract, PackContract, TrainContract, identity
from distill_runtime.contract.identity import FirstDefault

DIGEST = "sha256:" + "0" * 64


def generation(**teacher: Any) -> GenerateContract:
    values = {"endpoints": ["http://a/v1"], "model": "r1", **teacher}
    return GenerateContract.model_validate({"output": "out", "prompts": {"uri": "p.jsonl"}, "teacher": values})


@pytest.mark.parametrize(
    "how",
    [
        {"endpoints": ["http://b/v1", "http://c/v1"]},
        {"maxConcurrentRequests": 7},
        {"requestTimeoutSeconds": 7},
        {"stallTimeoutSeconds": 7},
        {"maxAttempts": 7},
        {"unavailableTimeoutSeconds": 7},
        {"price": {"promptTokensPerMillion": 1, "completionTokensPerMillion": 2}},
    ],
)
def test_how_answers_are_come_by_is_no_part_of_it(how: dict[str, Any]) -> None:
    assert identity(generation(**how)) == identity(generation())


@pytest.mark.parametrize(
    "what",
    [
        {"model": "v3"},
        {"sampling": {"temperature": 1.0}},
        {"systemPrompt": "Think."},
        {"fewShot": [{"prompt": "1 + 1?", "answer": "2"}]},
    ],
)
def test_what_is_asked_is_part_of_it(what: dict[str, Any]) -> None:
    assert identity(generation(**what)) != identity(generation())


def test_who_asks_where_and_in_how_many_shards_is_no_part_of_it() -> None:
    contract = generation()
    update = {"attempt": 3, "output": "elsewhere", "shards": 8}
    assert identity(contract.model_copy(update=update)) == identity(contract)


def test_a_parameter_that_is_at_its_default_is_left_out_at_every_level() -> None:
    explicit = generation(sampling={"temperature": 0.6, "maxTokens": 16384})
    assert identity(explicit) == identity(generation()) == {"prompts": {"uri": "p.jsonl"}, "teacher": {"model": "r1"}}


def test_where_prompts_say_they_come_from_is_part_of_it_only_where_it_is_read() -> None:
    contract = generation()
    labelled = contract.prompts.model_copy(update={"source_column": "source"})
    assert identity(contract.model_copy(update={"prompts": labelled})) != identity(contract)


def filtering(**judge: Any) -> FilterContract:
    asked = {"endpoint": {"url": "http://a/v1", "model": "judge"}, **judge}
    return FilterContract.model_validate({"output": "out", "input": "generate", "filter": {"judge": asked}})


def test_what_a_judge_is_and_is_asked_is_part_of_it_and_where_it_is_served_is_not() -> None:
    assert identity(filtering()) == {"input": "generate", "filter": {"judge": {"endpoint": {"model": "judge"}}}}
    elsewhere = {"endpoint": {"url": "http://b/v1", "model": "judge"}, "maxConcurrentRequests": 7}
    assert identity(filtering(**elsewhere)) == identity(filtering())
    for what in ({"promptTemplate": "{reference} {answer}"}, {"verdictPattern": "yes"}, {"temperature": 1.0}):
        assert identity(filtering(**what)) != identity(filtering())


def test_rows_and_packed_sequences_are_named_by_what_is_read_of_them() -> None:
    filtered = FilterContract.model_validate({"output": "out", "input": {"uri": "rows", "limit": 3}, "filter": {}})
    packed = PackContract.model_validate({"output": "out", "input": {"uri": "packed"}})
    assert identity(filtered) == {"input": {"uri": "rows", "limit": 3}, "filter": {}}
    assert identity(packed) == {"input": {"uri": "packed"}}


def test_what_comes_from_a_stage_is_named_as_it_was_before_there_were_other_inputs() -> None:
    pack = {"tokenizer": {"uri": "t"}, "sequenceLength": 64}
    filtered = FilterContract.model_validate({"output": "out", "input": "generate", "filter": {}})
    packed = PackContract.model_validate({"output": "out", "input": {"uri": "f", "digest": DIGEST}, "pack": pack})
    assert identity(filtered) == {"input": "generate", "filter": {}}
    assert identity(packed) == {
        "input": {"uri": "f", "digest": DIGEST},
        "pack": {"tokenizer": {"uri": "t"}, "sequence_length": 64},
    }


def test_when_checkpoints_are_saved_does_not_change_what_is_trained() -> None:
    def training(**changes: Any) -> TrainContract:
        return TrainContract.model_validate(
            {
                "output": "out",
                "dataset": {"uri": "d", "digest": DIGEST},
                "model": {"uri": "m"},
                "training": {},
                "parallelism": {},
                "checkpoint": {},
                "deviceTarget": "CPU",
                **changes,
            }
        )

    assert identity(training(checkpoint={"everySteps": 7, "keep": 1})) == identity(training())
    assert "checkpoint" not in identity(training())
    assert identity(training(checkpoint={"export": "best"}))["checkpoint"] == {"export": "best"}
    assert identity(training(rendezvous={"host": "h"})) == identity(training())
    assert identity(training(nodes=2)) != identity(training())
    assert identity(training(mindformers={"a": {"b": 1}})) != identity(training())


class Asked(BaseModel):
    """As it was at first."""

    model: str
    temperature: float = 0.6


class AskedLater(BaseModel):
    """With a default that was changed, and a field that was added."""

    model: str
    temperature: Annotated[float, FirstDefault(0.6)] = 0.7
    top_k: int | None = None


class Request(BaseModel):
    asked: Asked = Asked(model="r1")


class RequestLater(BaseModel):
    asked: AskedLater = AskedLater(model="r1")


@pytest.mark.parametrize("temperature", [0.6, 0.7, 1.0])
def test_a_default_that_is_changed_changes_no_identity_of_what_was_asked_before(temperature: float) -> None:
    """The API server has written the default of that time into the object."""
    before, now = Asked(model="v3", temperature=temperature), AskedLater(model="v3", temperature=temperature)
    assert identity(before) == identity(now)
    assert identity(Request(asked=before)) == identity(RequestLater(asked=now))


def test_nor_that_of_a_block_that_is_at_its_default() -> None:
    before, now = Asked(model="r1", temperature=0.6), AskedLater(model="r1", temperature=0.6)
    assert identity(Request(asked=before)) == identity(RequestLater(asked=now)) == {}


def test_what_is_asked_with_the_new_default_is_something_else() -> None:
    assert identity(AskedLater(model="r1")) == {"model": "r1", "temperature": 0.7} != identity(Asked(model="r1"))
