"""Whatever a server sends comes to values, or to trouble that is counted; never to anything else."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runtime.client.completion import parse_completion
from distill_runtime.client.journal import Journal, read_records
from distill_runtime.client.stream import StreamedCompletion
from distill_runtime.client.trouble import Kind, Trouble, classify_status
from distill_runtime.client.values import Answer, Reply, Request, request_key

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "thinking", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Any JSON, with halves of surrogate pairs, NaN and numbers of any size in it; also what resembles a part of a text."""


def message_with(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": fields, "finish_reason": "stop"}], "model": "m"}


def parse(completion: Any) -> Reply | Trouble:
    return parse_completion(json.dumps(completion).encode())


def reply_to(**fields: Any) -> Reply:
    reply = parse(message_with(**fields))
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.parametrize(
    ("given", "taken"),
    [(7, 7), (0, 0), (5.0, 5), (7.5, None), (-1, None), (True, None), ("7", None), ({"a": 1}, None), (10**30, None)],
)
def test_what_is_no_number_of_tokens_is_not_counted(given: Any, taken: int | None) -> None:
    reply: Any = parse(message_with(content="c") | {"usage": {"prompt_tokens": given, "completion_tokens": given}})
    assert (reply.prompt_tokens, reply.completion_tokens) == (taken, taken)


@pytest.mark.parametrize("usage", [None, 7, "7", [], [7], {}])
def test_usage_may_be_anything(usage: Any) -> None:
    reply: Any = parse(message_with(content="c") | {"usage": usage})
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


@pytest.mark.parametrize("given", ["停止", "", "a b", "x" * 41, 7, True, ["stop"], {"reason": "stop"}, None])
def test_what_is_no_word_for_the_end_is_unknown(given: Any) -> None:
    completion = message_with(content="c")
    completion["choices"][0]["finish_reason"] = given
    reply: Any = parse(completion)
    assert reply.finish_reason == "unknown"


@pytest.mark.parametrize(
    ("fields", "reasoning", "content"),
    [
        ({"content": "c", "reasoning_content": "r"}, "r", "c"),
        ({"content": "c", "reasoning": "r"}, "r", "c"),
        ({"content": "c", "reasoning": ["r", {"type": "text", "text": "s"}]}, "rs", "c"),
        ({"content": "c", "reasoning": {"type": "summary", "content": [{"text": "r"}]}}, "r", "c"),
        ({"content": ["c", {"type": "text", "text": "d"}]}, None, "cd"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}, "c"]}, "r", "c"),
        ({"content": [{"type": "thinking", "thinking": "r"}, {"type": "text", "text": "c"}]}, "r", "c"),
        ({"content": [{"type": "reasoning", "text": "r"}, {"type": "text", "text": "c"}]}, "r", "c"),
        ({"content": {"type": "text", "text": "c"}, "reasoning": "r"}, "r", "c"),
        ({"content": None, "reasoning": "r"}, "r", ""),
        ({"content": "c \ud83d"}, None, "c \ufffd"),
    ],
)
def test_thoughts_and_content_are_told_apart_in_every_form(
    fields: dict[str, Any], reasoning: str | None, content: str
) -> None:
    reply = reply_to(**fields)
    assert (reply.reasoning, reply.content) == (reasoning, content)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"content": 7}, "content that is no text (int)"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "content that is no text (dict)"),
        ({"content": "c", "reasoning": 7.5}, "reasoning that is no text (float)"),
        ({"content": "c", "reasoning": {"encrypted": "…"}}, "reasoning that is no text (dict)"),
        ({"content": "c", "reasoning": json.loads("[" * 600 + "]" * 600)}, "reasoning that is no text (list)"),
    ],
)
def test_a_text_that_cannot_be_read_is_trouble_and_not_half_an_answer(fields: dict[str, Any], what: str) -> None:
    trouble = parse(message_with(**fields))
    assert trouble == Trouble(Kind.INVALID_RESPONSE, f"answers with {what}")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'{"choices":[]}', b'{"choices":{"0":1}}', b'{"choices":[{"message":"c"}]}',
     b"[" * 600 + b"]" * 600, b"[" * 9000, b"9" * 9000, b"\xff\xfe\x00"],
)  # fmt: skip
def test_what_is_no_completion_is_trouble(body: bytes) -> None:
    trouble = parse_completion(body)
    assert isinstance(trouble, Trouble)
    assert trouble.kind is Kind.INVALID_RESPONSE
    assert "no chat completion" in trouble.what


def test_not_a_number_beside_the_answer_does_no_harm() -> None:
    body = json.dumps(message_with(content="c") | {"prompt_logprobs": [float("-inf"), float("nan")]}).encode()
    reply: Any = parse_completion(body)
    assert reply.content == "c"


def assert_sound(outcome: Reply | Trouble, path: Path) -> None:
    """A reply reads back from the journal as it was written; trouble is one of a server's."""
    if isinstance(outcome, Trouble):
        assert outcome.kind in (Kind.INVALID_RESPONSE, Kind.SERVER_ERROR, Kind.DISCONNECTED)
        outcome.what.encode()
        return
    path.unlink(missing_ok=True)
    with Journal(path) as journal:
        journal.append(Answer(Request(request_key("u", 0), {}, {"uuid": "u"}), outcome, "http://a/v1", 1, 1.0, outcome))
        written = journal.tally
    with Journal(path) as journal:
        assert journal.tally == written
    (record,) = read_records(path)
    assert (record["content"], record["reasoning"]) == (outcome.content, outcome.reasoning)
    assert record["completion_tokens"] == outcome.completion_tokens


def put(anything: Any, where: list[Any], body: dict[str, Any]) -> dict[str, Any]:
    """Put something at a place of a body."""
    at: Any = body
    for step in where[:-1]:
        at = at[step]
    at[where[-1]] = anything
    return body


PLACES: list[list[Any]] = [
    *([name] for name in ("choices", "usage", "model", "error")),
    *(["usage", name] for name in ("prompt_tokens", "completion_tokens")),
    ["choices", 0],
    *(["choices", 0, name] for name in ("index", "message", "delta", "finish_reason")),
]
TEXTS = ("content", "reasoning", "reasoning_content")


@settings(max_examples=400)
@given(anything=ANYTHING, where=st.sampled_from(PLACES + [["choices", 0, "message", name] for name in TEXTS]))
def test_anything_anywhere_in_a_completion(
    tmp_path_factory: pytest.TempPathFactory, anything: Any, where: list[Any]
) -> None:
    body = message_with(content="c", reasoning="r") | {"usage": {}}
    path = tmp_path_factory.getbasetemp() / "whole.jsonl"
    assert_sound(parse(put(anything, where, body)), path)


@settings(max_examples=400)
@given(anything=ANYTHING, where=st.sampled_from(PLACES + [["choices", 0, "delta", name] for name in TEXTS]))
def test_anything_anywhere_in_a_chunk(
    tmp_path_factory: pytest.TempPathFactory, anything: Any, where: list[Any]
) -> None:
    delta: dict[str, Any] = {"content": "c", "reasoning": "r"}
    chunk = put(anything, where, {"choices": [{"index": 0, "delta": delta}], "usage": {}})
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
    streamed = StreamedCompletion()
    for part in (chunk, chunk, end):
        streamed.feed(b"data: " + json.dumps(part).encode() + b"\n\n")
    assert_sound(streamed.end(), tmp_path_factory.getbasetemp() / "streamed.jsonl")


@given(
    body=st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()), status=st.integers(201, 599)
)
def test_anything_in_an_error(body: bytes, status: int) -> None:
    trouble = classify_status(status, {"retry-after": body.decode("latin-1")}, body, datetime.now(UTC))
    trouble.what.encode()
