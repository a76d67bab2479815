import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_teacher import Reaction, completion, events

from distill_runtime.client.stream import StreamedCompletion
from distill_runtime.client.trouble import Kind


def collect(body: bytes, cuts: list[int]) -> StreamedCompletion:
    streamed = StreamedCompletion()
    start = 0
    for cut in [*sorted(cut % (len(body) + 1) for cut in cuts), len(body)]:
        streamed.feed(body[start:cut])
        start = cut
    return streamed


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.integers(0, 5000), max_size=8), texts, texts, st.sampled_from(["reasoning", "reasoning_content"]))
def test_a_completion_is_whole_however_its_stream_is_cut(
    cuts: list[int], content: str, reasoning: str, name: str
) -> None:
    whole = completion("q", Reaction(message={"content": content, name: reasoning}))
    streamed = collect(b"".join(events(whole)), cuts)
    assert streamed.error is None
    assert streamed.completion == {
        "choices": [{"message": {"content": content, "reasoning_content": reasoning}, "finish_reason": "stop"}],
        "usage": whole["usage"],
        "model": whole["model"],
    }


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_chunk_may_end_the_reasoning_and_begin_the_answer(name: str) -> None:
    deltas = [{name: "I "}, {"content": "4", name: "think."}, {"content": "2"}]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    streamed = collect(b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), [])
    assert streamed.completion["choices"][0]["message"] == {"content": "42", "reasoning_content": "I think."}


@pytest.mark.parametrize("separator", [b"\r\n\r\n", b"\n\n"])
def test_lines_may_end_either_way_and_comments_are_passed_over(separator: bytes) -> None:
    body = b": ping\n\n" + b"".join(events(completion("q", Reaction())))
    assert collect(body.replace(b"\n\n", separator), []).error is None


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"", Kind.DISCONNECTED, "ends the stream before"),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', Kind.DISCONNECTED, "ends the stream before"),
        (b'data: {"error":{"message":"out of memory"}}\n\n', Kind.SERVER_ERROR, "out of memory"),
        (b"data: <html>\n\n", Kind.SERVER_ERROR, "<html>"),
        (b'data: {"choices":[7]}\n\n', Kind.SERVER_ERROR, "choices"),
    ],
)
def test_a_stream_that_breaks_off_is_no_completion(body: bytes, kind: Kind, what: str) -> None:
    error: Any = collect(body, []).error
    assert error.kind is kind
    assert what in error.what
