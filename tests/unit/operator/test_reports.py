"""What a Pod says, of whatever version, read into values that every status can hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.operator.builders import failed_pod, job, pod, progress, result

from distill_operator.plan.reports import LARGEST_COUNT, LONGEST_TEXT, parse_result, read_progress
from distill_runtime.contract import Progress, Result

JOB = job()


@pytest.mark.parametrize("words", ["", "Traceback", "{}", "[]", '{"outcome": "Succeeded"}'])
def test_last_words_that_are_no_result(words: str) -> None:
    assert parse_result(failed_pod(JOB, termination_message=words)) is None


def said(**fields: Any) -> Progress | None:
    body = {"stage": "train", "done": 5, "unit": "steps", **fields}
    return read_progress(json.dumps(body).encode())


def ended(**fields: Any) -> Result | None:
    body = {"outcome": "Succeeded", "reason": "Done", "message": "it is done", **fields}
    return parse_result(pod(JOB, termination_message=json.dumps(body)))


def test_what_a_stage_writes_is_read_as_it_is() -> None:
    progressing = progress(5, 10, rate=1.5, eta_seconds=3.5, message="m", counts={"a": 1}, metrics={"loss": 0.5})
    assert read_progress(progressing.model_dump_json(by_alias=True).encode()) == progressing
    done = result({"a": 1}, metrics={"loss": 0.5})
    assert parse_result(pod(JOB, termination_message=done.to_termination_message())) == done


@pytest.mark.parametrize(("said", "read"), [("workload", "workload"), ("cosmic", None), (["workload"], None)])
def test_a_class_of_failure_that_is_not_known_is_none(said: object, read: str | None) -> None:
    words = {"outcome": "Failed", "reason": "WorkerFailed", "message": "m", "failureClass": said}
    result = parse_result(pod(JOB, termination_message=json.dumps(words)))
    assert result is not None
    assert result.failure_class == read


def test_inputs_are_read_as_far_as_they_can_be() -> None:
    told = {"name": "prompts", "uri": "prompts.jsonl", "value": "sha256:1"}
    read = ended(inputs=[{**told, "size": 3}, {"name": 7}, "prompts"])
    assert read is not None
    assert [each.to_json() for each in read.inputs] == [told, {"name": "", "uri": "", "value": ""}]
    older = ended(inputs="prompts")
    assert older is not None
    assert older.inputs == ()


@pytest.mark.parametrize(
    "judgement",
    [
        None,
        1,
        "x",
        [],
        {"comparisons": 1},
        {"comparisons": [{"name": "b", "method": "guessed"}]},
        {"gate": {"held": 3}},
    ],
)
def test_a_judgement_that_cannot_be_read_is_none(judgement: object) -> None:
    read = ended(judgement=judgement)
    assert read is not None
    assert read.judgement is None


def test_a_judgement_is_read_without_what_is_not_known_of_it() -> None:
    comparison = {"name": "base", "method": "mcnemar", "difference": 1.5}
    read = ended(judgement={"comparisons": [comparison | {"novelty": 1}], "gate": {"held": True}})
    assert read is not None
    assert read.judgement is not None
    assert [each.to_json() for each in read.judgement.comparisons] == [comparison | {"differs": []}]
    text = json.dumps(
        {"outcome": "Succeeded", "reason": "Done", "message": "m", "judgement": {"comparisons": [comparison]}}
    )
    endless = parse_result(pod(JOB, termination_message=text.replace("1.5", "1e400")))
    assert endless is not None
    assert endless.judgement is None


def test_fields_of_another_version_do_no_harm() -> None:
    """A newer job runtime's, after the operator was rolled back."""
    assert said(queueDepth=3) == said()
    artifact = {"uri": "npu-distill/out", "digest": f"sha256:{'d' * 64}"}
    newer = ended(artifact={**artifact, "fingerprint": "x"}, spent={"usd": 3})
    assert newer is not None
    assert newer == ended(artifact=artifact)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"done": -1}', b"\xff", b"[" * 10_000, b'{"stage": "\\ud800"}', b" " * 70_000],
)
def test_what_is_no_progress_is_none(body: bytes) -> None:
    assert read_progress(body) is None


@pytest.mark.parametrize("eta", ["1e400", "-1", "NaN", "1e18", '"soon"', "null", "9" * 400])
def test_an_eta_that_is_none_is_left_out(eta: str) -> None:
    found = read_progress(f'{{"stage": "s", "done": 1, "unit": "rows", "rate": 2, "etaSeconds": {eta}}}'.encode())
    assert found is not None
    assert (found.eta_seconds, found.rate) == (None, 2)


@pytest.mark.parametrize("loss", ["null", "NaN", "1e400", "-Infinity", '"NaN"', "9" * 400])
def test_a_figure_that_is_no_number_is_said_in_words(loss: str) -> None:
    """A status with it would be refused for ever. A loss that has become NaN is written as null."""
    figures = f'"message": "Step 1.", "metrics": {{"loss": {loss}, "x": 1}}'
    found = read_progress(f'{{"stage": "s", "done": 1, "unit": "rows", {figures}}}'.encode())
    assert found is not None
    assert (found.metrics, found.message) == ({"x": 1}, "Not a number that can be shown: loss. Step 1.")


@pytest.mark.parametrize("count", [-1, LARGEST_COUNT + 1, 10**30, 1.5, True, "7", None])
def test_a_count_that_is_none_is_said_in_words(count: object) -> None:
    found = ended(counts={"rows": count, "kept": LARGEST_COUNT})
    assert found is not None
    assert (found.counts, found.message) == (
        {"kept": LARGEST_COUNT},
        "Not a number that can be shown: rows. it is done",
    )


def test_texts_and_maps_are_bounded() -> None:
    found = said(message="m" * 5000, unit="u" * 500, counts={f"c{i}": i for i in range(500)}, metrics={"n" * 500: 1})
    assert found is not None
    assert (len(found.message), found.message[-1], len(found.unit)) == (LONGEST_TEXT, "…", 100)
    assert (len(found.counts), found.metrics) == (100, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["stage", "done", "total", "unit", "rate", "etaSeconds", "message", "counts", "metrics"])


@given(st.dictionaries(FIELDS, JSON))
def test_whatever_is_said_becomes_nothing_or_what_a_status_can_hold(fields: dict[str, Any]) -> None:
    found = said(**fields)
    if found is not None:
        numbers = [found.done, found.total or 0, *found.counts.values()]
        assert all(0 <= number <= LARGEST_COUNT for number in numbers)
        json.dumps(found.model_dump(), allow_nan=False)
