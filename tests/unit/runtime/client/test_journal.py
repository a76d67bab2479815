import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runtime.client.journal import Journal, read_lines, read_records
from distill_runtime.client.values import Answer, Failure, Reply, Request, request_key
from distill_runtime.foundation.errors import Retryable, WrongInput


def request(number: int) -> Request:
    record = {"uuid": f"prompt {number}", "generation": 0, "prompt": 'line\nand "quote"'}
    return Request(request_key(f"prompt {number}", 0), {}, record)


def answer(number: int, finish_reason: str = "stop", content: str = "c", tokens: int | None = 10) -> Answer:
    reply = Reply(content, "because\n", finish_reason, 3, tokens, "model")
    return Answer(request(number), reply, "http://a/v1", attempts=2, seconds=1.23456)


def failure(number: int) -> Failure:
    return Failure(request(number), "refused", "http://a/v1 answers 400: too long", "http://a/v1", attempts=1)


def test_outcomes_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(answer(1))
        journal.append(answer(2, finish_reason="length", tokens=None))
        journal.append(failure(3))
        before = journal.tally
    with Journal(path) as journal:
        assert [request(number).key in journal for number in (1, 2, 3, 4)] == [True, True, True, False]
        assert journal.tally == before
    assert before.finish_reasons == {"stop": 1, "length": 1}
    assert before.failures == {"refused": 1}
    assert (before.outcomes, before.prompt_tokens, before.completion_tokens, before.attempts) == (3, 6, 10, 5)
    assert before.uncounted == 1


def test_the_tokens_of_a_discarded_reply_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    cut_off = Reply("c", None, "length", 3, 100, "model")
    with Journal(path) as journal:
        journal.append(replace(answer(1), discarded=cut_off))
        before = journal.tally
    with Journal(path) as journal:
        assert journal.tally == before
    assert (before.prompt_tokens, before.completion_tokens, before.discarded_completion_tokens) == (6, 110, 100)
    (record,) = read_records(path)
    assert record["completion_tokens"] == 10


def test_a_journal_from_before_discarded_replies_were_counted_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(
        '{"key":"00000000000000a1","failure":null,"finish_reason":"stop","prompt_tokens":3,"completion_tokens":10,'
        '"attempts":2,"uuid":"u","generation":0,"position":0,"prompt":"p","answer":"4","reasoning":null,"content":"c",'
        '"model":"m","endpoint":"http://a/v1","seconds":1.0}\n'
    )
    with Journal(path) as journal:
        assert (journal.tally.completion_tokens, journal.tally.discarded_completion_tokens) == (10, 0)


def test_a_record_has_everything_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(answer(1))
        journal.append(failure(2))
    good, bad = read_records(path)
    assert good == {
        "key": request(1).key, "failure": None, "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 10,
        "attempts": 2, "uuid": "prompt 1", "generation": 0, "prompt": 'line\nand "quote"', "reasoning": "because\n",
        "content": "c", "model": "model", "endpoint": "http://a/v1", "seconds": 1.235,
    }  # fmt: skip
    assert (bad["failure"], bad["failure_message"]) == ("refused", "http://a/v1 answers 400: too long")


@settings(max_examples=60)
@given(outcomes=st.integers(1, 4), lost=st.integers(1, 400), garbage=st.binary(max_size=8))
def test_a_torn_tail_costs_only_what_is_torn(
    tmp_path_factory: pytest.TempPathFactory, outcomes: int, lost: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    with Journal(path) as journal:
        for number in range(outcomes):
            journal.append(answer(number))
    whole = path.read_bytes()
    kept = whole[: max(0, len(whole) - lost)]
    path.write_bytes(kept + garbage.replace(b"\n", b""))
    complete = kept.count(b"\n")
    with Journal(path) as journal:
        assert [request(number).key in journal for number in range(outcomes)] == [
            number < complete for number in range(outcomes)
        ]
        for number in range(complete, outcomes):
            journal.append(answer(number))
    assert path.read_bytes() == whole


def test_a_block_of_zeros_at_the_end_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(answer(1))
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(4096) + b"\n")
    with Journal(path) as journal:
        assert journal.tally.outcomes == 1
    assert path.read_bytes() == whole


def test_damage_before_the_tail_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(answer(1))
        journal.append(answer(2))
    path.write_bytes(path.read_bytes().replace(b'{"key":', b'{"kex":', 1))
    with pytest.raises(WrongInput, match="the line at byte 0 does not begin as one") as error:
        Journal(path)
    assert error.value.reason == "JournalDamaged"


def test_an_outcome_that_is_there_twice_is_not_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(answer(1))
        journal.append(answer(1))
    with pytest.raises(WrongInput, match="1 of its 2 lines repeat"):
        Journal(path)


def test_only_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path), pytest.raises(Retryable, match="another process is writing") as error:
        Journal(path)
    assert error.value.reason == "JournalInUse"
    with Journal(path):
        pass


def test_lines_can_be_copied_into_another_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "a") as journal:
        journal.append(answer(1))
        journal.append(failure(2))
    with Journal(tmp_path / "b") as journal:
        for _, line in read_lines(tmp_path / "a"):
            journal.append_line(line)
        assert journal.tally.outcomes == 2
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_line_is_json_with_its_key_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(answer(1))
    line = (tmp_path / "journal.jsonl").read_text()
    assert list(json.loads(line))[:3] == ["key", "failure", "finish_reason"]


@given(st.text(), st.integers(0, 255), st.text(), st.integers(0, 255))
def test_keys_differ_where_prompts_or_generations_differ(uuid: str, generation: int, other: str, index: int) -> None:
    same = (uuid, generation) == (other, index)
    # A lone surrogate cannot be in a JSON document that was parsed.
    if not any("\ud800" <= character <= "\udfff" for character in uuid + other):
        assert (request_key(uuid, generation) == request_key(other, index)) is same
