import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_teacher import MODEL, Reaction, completion, events

from distill_runtime.client.stream import StreamedCompletion
from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.client.values import Reply


def collect(body: bytes, cuts: list[int]) -> Reply | Trouble:
    streamed = StreamedCompletion()
    start = 0
    for cut in [*sorted(cut % (len(body) + 1) for cut in cuts), len(body)]:
        streamed.feed(body[start:cut])
        start = cut
    return streamed.end()


def chunks(*deltas: Any, **more: Any) -> bytes:
    """Give the body of a stream of these deltas, and a last chunk that ends it."""
    bodies = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    bodies.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m"} | more)
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in bodies)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.integers(0, 5000), max_size=8), texts, texts, st.sampled_from(["reasoning", "reasoning_content"]))
def test_a_completion_is_whole_however_its_stream_is_cut(
    cuts: list[int], content: str, reasoning: str, name: str
) -> None:
    whole = completion("q", Reaction(message={"content": content, name: reasoning}))
    reply = collect(b"".join(events(whole)), cuts)
    assert reply == Reply(content, reasoning or None, "stop", 3, 7, MODEL)


def test_a_chunk_may_end_the_reasoning_and_begin_the_answer() -> None:
    for name in ("reasoning", "reasoning_content"):
        reply = collect(chunks({name: "I "}, {"content": "4", name: "think."}, {"content": "2"}), [])
        assert reply == Reply("42", "I think.", "stop", None, None, "m")


@pytest.mark.parametrize("separator", [b"\r\n\r\n", b"\n\n"])
def test_lines_may_end_either_way_and_comments_and_empty_events_are_passed_over(separator: bytes) -> None:
    body = b": ping\n\nevent: message\n\ndata:\n\ndata: \n\n" + b"".join(events(completion("q", Reaction())))
    assert isinstance(collect(body.replace(b"\n\n", separator), []), Reply)


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"", Kind.DISCONNECTED, "ends the stream before"),
        (b": ping\n\n", Kind.DISCONNECTED, "ends the stream before"),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', Kind.DISCONNECTED, "ends the stream before"),
        (b'data: {"error":{"message":"out of memory"}}\n\n', Kind.SERVER_ERROR, "out of memory"),
        (b"data: <html>\n\n", Kind.SERVER_ERROR, "<html>"),
        (b'data: {"choices":[7]}\n\n', Kind.SERVER_ERROR, "choices"),
        (b"data: " + b"[" * 600 + b"]" * 600 + b"\n\n", Kind.SERVER_ERROR, "[[["),
        (b"data: " + b"[" * 6000 + b"]" * 6000 + b"\n\n", Kind.SERVER_ERROR, "[[["),
        (chunks({"reasoning": 7}), Kind.INVALID_RESPONSE, "reasoning that is no text (int)"),
        (b"<html>\n<body>busy</body>\n</html>", Kind.INVALID_RESPONSE, "'<html>"),
    ],
)
def test_a_stream_that_breaks_off_is_no_completion(body: bytes, kind: Kind, what: str) -> None:
    error: Any = collect(body, [])
    assert error.kind is kind
    assert what in error.what


@given(st.lists(st.integers(0, 5000), max_size=8))
def test_a_server_that_does_not_know_of_streams_answers_as_well(cuts: list[int]) -> None:
    whole = completion("q", Reaction(message={"content": "4", "reasoning": "two\nlines"}))
    for indent in (None, 2):
        assert collect(json.dumps(whole, indent=indent).encode(), cuts) == Reply("4", "two\nlines", "stop", 3, 7, MODEL)


def test_only_one_choice_is_read_that_of_the_first_chunk() -> None:
    other = json.dumps({"choices": [{"index": 1, "delta": {"content": "another"}, "finish_reason": "length"}]}).encode()
    first, last = chunks({"content": "4"}).split(b"\n\n", 1)
    reply = collect(first + b"\n\ndata: " + other + b"\n\n" + last, [])
    assert reply == Reply("4", None, "stop", None, None, "m")


def test_a_surrogate_pair_may_be_split_over_two_chunks() -> None:
    reply: Any = collect(chunks({"content": "a \ud83d"}, {"content": "\ude00 \ud83d", "reasoning": "\ude00"}), [])
    assert (reply.content, reply.reasoning) == ("a 😀 \ufffd", "\ufffd")


def test_a_stream_may_end_with_nothing_but_its_last_word() -> None:
    body = b'data: {"choices":[{"delta":{"content":"4"}}]}\n\ndata: [DONE]'
    assert collect(body, []) == Reply("4", None, "unknown", None, None, "")


def test_content_may_be_streamed_in_parts_of_which_some_are_thoughts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "I "}]}
    more = {"type": "thinking", "thinking": "think."}
    reply = collect(chunks({"content": [thought]}, {"content": [more]}, {"content": "4"}, {"content": ["2"]}), [])
    assert reply == Reply("42", "I think.", "stop", None, None, "m")
