import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ports import unused_port
from support.scripted_teacher import MODEL, Reaction, ScriptedTeacher, teacher

from distill_runtime.cli import UNITS
from distill_runtime.client.journal import read_records
from distill_runtime.contract import EXIT_TERMINATED, FilterParameters, GenerateContract, Manifest, Result, shard_output
from distill_runtime.contract.stages import ServedTeacher, ServerBeside
from distill_runtime.filtering.generations import Place
from distill_runtime.filtering.shards import open_shards
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.foundation.rows import GENERATIONS_NAME
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import generate
from distill_runtime.storage.volume import Volume

PROMPTS = 30


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    rows = [{"problem": f"problem {number}", "answer": number, "uuid": f"u{number}"} for number in range(PROMPTS)]
    write(tmp_path, rows)
    return tmp_path


def write(volume: Path, rows: list[dict[str, Any]]) -> None:
    (volume / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def contract(*urls: str, shards: int = 1, output: str = "generated", **teacher: Any) -> GenerateContract:
    return GenerateContract.model_validate(
        {
            "output": output,
            "shards": shards,
            "prompts": {"uri": "prompts.jsonl", "uuidColumn": "uuid"},
            "teacher": {
                "endpoints": urls,
                "model": MODEL,
                "promptTemplate": "Solve: {prompt}",
                "maxConcurrentRequests": 8,
                "sampling": {"generationsPerPrompt": 2, "seed": 5},
                **teacher,
            },
        }
    )


def run(contract: GenerateContract, volume: Path, index: int = 0) -> Result:
    context = StageContext(Volume(volume), Reporter("generate", UNITS["generate"]), index)
    return run_stage(generate, contract, context)


def records(volume: Path, output: str = "generated", index: int = 0, shards: int = 1) -> list[dict[str, Any]]:
    return list(read_records(volume / shard_output(output, index, shards) / GENERATIONS_NAME))


def test_every_generation_is_a_record_and_the_counts_close(volume: Path) -> None:
    with teacher(lambda *_: Reaction()) as server:
        result = run(contract(server.url), volume)
    assert result.counts == {
        "rows": 30, "prompts": 30, "generations": 60, "answered": 60, "failed": 0, "finish.stop": 60,
        "promptTokens": 180, "completionTokens": 420, "requests": 60,
    }  # fmt: skip
    by_generation = {(record["uuid"], record["generation"]): record for record in records(volume)}
    assert len(by_generation) == 60
    record = by_generation["u3", 1]
    assert record["prompt"] == "problem 3"
    assert record["answer"] == "3"
    assert record["content"] == "re: Solve: problem 3"
    assert record["reasoning"] == "I think."
    assert sorted(body["seed"] for body in server.bodies) == [5] * 30 + [6] * 30
    assert {body["max_tokens"] for body in server.bodies} == {16384}


def test_a_record_says_where_its_prompt_comes_from(volume: Path) -> None:
    write(volume, [{"problem": "p", "answer": "1", "uuid": "a", "contest": "olympiads"}])
    with teacher() as server:
        work = contract(server.url)
        labelled = work.prompts.model_copy(update={"source_column": "contest"})
        run(work.model_copy(update={"prompts": labelled}), volume)
    assert [record["source"] for record in records(volume)] == ["olympiads"] * 2


def test_with_a_price_it_says_what_the_answers_cost(volume: Path) -> None:
    price = {"promptTokensPerMillion": 1000, "completionTokensPerMillion": 2000, "currency": "EUR"}
    with teacher() as server:
        work = contract(server.url, price=price)
        context = StageContext(Volume(volume), Reporter("generate", UNITS["generate"]))
        result = run_stage(generate, work, context)
    assert result.message == "the teacher answered 60 of 60 generations; they cost 1.02 EUR"
    assert context.reporter.snapshot().counts["prompts"] == PROMPTS


def other_teacher(url: str, **more: Any) -> dict[str, Any]:
    return {"additionalModels": [{"model": "other", "endpoints": [url], **more}]}


def test_several_teachers_share_the_generations_of_each_prompt(volume: Path) -> None:
    with teacher() as first, teacher() as second:
        second.served = ["other"]
        work = contract(first.url, **other_teacher(second.url), sampling={"generationsPerPrompt": 4})
        context = StageContext(Volume(volume), Reporter("generate", UNITS["generate"]), api_key="of the first")
        result = run_stage(generate, work, context)
        first_again = run(work, volume)
    assert first_again.reason == "AlreadyComplete"
    assert (first.requests, second.requests) == (60, 60)
    assert {body["model"] for body in second.bodies} == {"other"}
    assert "of the first" not in str(second.headers)  # a key is for whom it belongs to
    told = Counter((record["uuid"], record["teacher"]) for record in records(volume))
    assert set(told.values()) == {2}
    for number in range(2):
        counts = {"generations": 60, "answered": 60, "promptTokens": 180, "completionTokens": 420}
        assert {name: result.counts[f"teachers.{number}.{name}"] for name in counts} == counts
    assert result.counts["answered"] == 120


def test_a_teacher_that_is_away_keeps_no_other_from_its_share(volume: Path) -> None:
    """It gives up when the others are done, and what it has yet to answer is asked by the next Pod."""
    dead = f"http://127.0.0.1:{unused_port()}/v1"
    work = contract(dead, **other_teacher(dead), unavailableTimeoutSeconds=1)
    with teacher() as first:
        reached = work.teacher.model_copy(update={"endpoints": (first.url,)})
        with pytest.raises(Retryable, match=dead) as away:
            run(work.model_copy(update={"teacher": reached}), volume)
        assert away.value.reason == "EndpointUnreachable"
        assert first.requests == 30
        with teacher() as second:
            second.served = ["other"]
            others = tuple(
                each.model_copy(update={"endpoints": (second.url,)}) for each in work.teacher.additional_models
            )
            both = reached.model_copy(update={"additional_models": others})
            result = run(work.model_copy(update={"teacher": both}), volume)
        assert (first.requests, second.requests) == (30, 30)
    assert result.counts["answered"] == 60


def test_it_gives_up_when_all_teachers_are_away(volume: Path) -> None:
    dead, as_dead = (f"http://127.0.0.1:{unused_port()}/v1" for _ in range(2))
    with pytest.raises(Retryable) as away:
        run(contract(dead, **other_teacher(as_dead), unavailableTimeoutSeconds=1), volume)
    assert away.value.reason == "EndpointUnreachable"


def test_a_teacher_that_serves_another_model_is_wrong_input_at_once(volume: Path) -> None:
    with teacher() as first, teacher() as second, pytest.raises(WrongInput) as refused:
        run(contract(first.url, **other_teacher(second.url)), volume)
    assert refused.value.reason == "ModelNotServed"


def test_of_answers_without_usage_the_cost_is_unknown(volume: Path) -> None:
    price = {"promptTokensPerMillion": 1000, "completionTokensPerMillion": 2000}
    uncounted = lambda question, _: Reaction(usage=None) if question.endswith("7") else Reaction()  # noqa: E731
    with teacher(uncounted) as server:
        result = run(contract(server.url, price=price), volume)
    unknown = "they cost an unknown amount, since 6 answers came without usage"
    assert result.message == f"the teacher answered 60 of 60 generations; {unknown}"
    assert (result.counts["uncountedAnswers"], result.counts["completionTokens"]) == (6, 54 * 7)
    assert result.metrics["meanCompletionTokens"] == 7


def test_only_endpoints_that_answer_are_asked_what_they_serve(volume: Path) -> None:
    """One that hangs would keep a finished shard waiting, and one that is dead has served nothing."""
    dead = f"http://127.0.0.1:{unused_port()}/v1"
    with teacher(lambda *_: Reaction(delay=3600)) as hanging, teacher() as good:
        result = run(contract(dead, hanging.url, good.url), volume)
    assert [noted.uri for noted in result.inputs if noted.name == "endpoint"] == [good.url]
    assert hanging.requests == 0


def test_what_the_manifest_says_is_what_the_result_says(volume: Path) -> None:
    with teacher() as server:
        result = run(contract(server.url), volume)
    manifest = Manifest.model_validate_json((volume / "generated/shard-00000-of-00001/manifest.json").read_bytes())
    assert manifest.counts == result.counts
    assert [file.path for file in manifest.files] == ["generations.jsonl"]
    assert result.artifact is not None
    assert result.artifact.uri == "generated/shard-00000-of-00001"


def test_a_generation_that_fails_leaves_its_siblings_alone(volume: Path) -> None:
    with teacher(lambda question, before: Reaction(400 if question.endswith(" 3") and not before else 200)) as server:
        result = run(contract(server.url), volume)
    assert (result.counts["answered"], result.counts["failed"], result.counts["failed.refused"]) == (59, 1, 1)
    outcomes = Counter(record["failure"] for record in records(volume) if record["uuid"] == "u3")
    assert outcomes == {None: 1, "refused": 1}


def test_rows_that_are_not_asked_are_counted(volume: Path) -> None:
    write(
        volume,
        [
            {"problem": "p", "answer": "1", "uuid": "a"},
            {"problem": "q", "answer": "1", "uuid": "a"},
            {"problem": None, "answer": "1", "uuid": "b"},
            {"problem": "r", "answer": None, "uuid": "c"},
        ],
    )
    with teacher() as server:
        counts = run(contract(server.url), volume).counts
    assert (counts["rows"], counts["prompts"], counts["generations"]) == (4, 1, 2)
    rejected = {name: number for name, number in counts.items() if name.startswith("rejected.")}
    assert rejected == {"rejected.answerMissing": 1, "rejected.duplicate": 1, "rejected.promptMissing": 1}


def test_the_first_request_waits_for_the_check_of_the_columns(volume: Path) -> None:
    write(volume, [{"question": "p", "answer": "1", "uuid": "a"}])
    with teacher() as server, pytest.raises(WrongInput, match="it has question, answer, uuid"):
        run(contract(server.url), volume)
    assert server.requests == 0


def test_nothing_answered_is_no_success(volume: Path) -> None:
    write(volume, [{"problem": "p", "answer": "1", "uuid": "a"}])
    refuse_the_prompt = lambda question, _: Reaction(400 if question == "Solve: p" else 200)  # noqa: E731
    with teacher(refuse_the_prompt) as server, pytest.raises(WrongInput, match=r"all 2 .* \(failed\.refused\)"):
        run(contract(server.url), volume)


def test_what_a_server_refused_before_it_was_mended_is_asked_again(volume: Path) -> None:
    with teacher(lambda *_: Reaction(400)) as server:
        with pytest.raises(WrongInput, match="each of the first 20 requests failed"):
            run(contract(server.url), volume)
        server.script = lambda *_: Reaction()
        counts = run(contract(server.url), volume).counts
    assert (counts["answered"], counts["failed"]) == (60, 0)


def test_shards_ask_each_prompt_once_and_add_up(volume: Path) -> None:
    with teacher() as server:
        results = [run(contract(server.url, shards=4), volume, index) for index in range(4)]
    assert sum(result.counts["generations"] for result in results) == 60
    assert set(server.asked.values()) == {2}
    uuids = [record["uuid"] for index in range(4) for record in records(volume, index=index, shards=4)]
    assert Counter(uuids) == {f"u{number}": 2 for number in range(PROMPTS)}


def test_a_box_that_nobody_asks_for_is_said(volume: Path) -> None:
    with teacher() as server:
        asked = contract(server.url).model_copy(update={"filter": FilterParameters()})
        assert "; warning: no prompt asks for \\boxed{}, in which math-verify looks" in run(asked, volume).message


def test_a_shard_without_prompts_is_complete_and_empty(volume: Path) -> None:
    write(volume, [{"problem": f"p{number}", "answer": "1", "uuid": f"u{number}"} for number in range(2)])
    with teacher() as server:
        results = [run(contract(server.url, shards=4), volume, index) for index in range(4)]
    assert [result.message for result in results[1:3]] == [
        "the teacher answered 2 of 2 generations",
        "the teacher answered 0 of 0 generations",
    ]
    assert [set(result.metrics) for result in results] == [{"meanCompletionTokens"}] * 2 + [set()] * 2
    shards = open_shards("generated", 4, Volume(volume))
    assert shards.total == len(list(shards.read(Place()))) == 4


def test_a_source_without_prompts_is_wrong_input_in_every_shard(volume: Path) -> None:
    write(volume, [{"problem": "", "answer": "1", "uuid": "a"}])
    for index in range(2):
        with pytest.raises(WrongInput, match=r"no row of prompts\.jsonl can be asked: 1 have no problem"):
            run(contract("http://unused/v1", shards=2), volume, index)


def interrupt_after(
    server: ScriptedTeacher, requests: int, contract: GenerateContract, volume: Path, index: int = 0
) -> None:
    """Let the teacher fail after so many requests, which ends the run."""
    server.script = lambda *_: Reaction(503 if server.requests >= requests else 200)
    with pytest.raises(Retryable, match="no endpoint has answered"):
        run(contract.model_copy(update={"teacher": impatient(contract)}), volume, index)
    server.script = lambda *_: Reaction()


def impatient(contract: GenerateContract) -> Any:
    return contract.teacher.model_copy(update={"unavailable_timeout_seconds": 1})


def test_a_run_goes_on_although_the_source_was_reordered(volume: Path) -> None:
    with teacher() as server:
        interrupt_after(server, 20, contract(server.url), volume)
        partial = volume / "generated/shard-00000-of-00001.partial/generations.jsonl"
        kept = partial.read_bytes()
        assert kept.count(b"\n") == 20
        lines = (volume / "prompts.jsonl").read_text().splitlines(keepends=True)
        random.Random(1).shuffle(lines)
        (volume / "prompts.jsonl").write_text("".join(lines))
        server.asked.clear()
        result = run(contract(server.url), volume)
    assert result.counts["answered"] == 60
    assert server.requests == 40
    final = (volume / "generated/shard-00000-of-00001/generations.jsonl").read_bytes()
    assert final.startswith(kept)


def problems(*texts: str, answer: str = "1") -> list[dict[str, Any]]:
    """Give rows whose uuids are their places, as many tables number them."""
    return [{"problem": text, "answer": answer, "uuid": str(place)} for place, text in enumerate(texts)]


def test_answers_are_not_taken_for_those_to_prompts_that_took_their_place(volume: Path) -> None:
    write(volume, problems("p", "q"))
    with teacher() as server:
        first = run(contract(server.url), volume)
        write(volume, problems("r", "s"))
        with pytest.raises(WrongInput, match=r"was made: prompts prompts\.jsonl was sha256:") as refused:
            run(contract(server.url), volume)
        assert refused.value.reason == "InputChanged"
        write(volume, problems("p", "q"))
        again = run(contract(server.url), volume)
    assert (again.reason, again.artifact) == ("AlreadyComplete", first.artifact)
    assert [each.name for each in again.inputs] == [each.name for each in first.inputs] == ["prompts", "endpoint"]


CHANGED_UNDER_WAY = {
    "replaced": problems("r", "s", "t"),
    "fewer": problems("p"),
    "answers-corrected": problems("p", "q", answer="2"),
}


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "of-an-earlier-version"])
@pytest.mark.parametrize("rows", CHANGED_UNDER_WAY.values(), ids=CHANGED_UNDER_WAY)
def test_a_source_that_was_changed_under_way_is_refused(
    volume: Path, rows: list[dict[str, Any]], recorded: bool
) -> None:
    write(volume, problems("p", "q"))
    with teacher() as server:
        interrupt_after(server, 3, contract(server.url, maxConcurrentRequests=1), volume)
        if not recorded:
            (volume / "generated/shard-00000-of-00001.partial/inputs.json").unlink()
        write(volume, rows)
        asked = server.requests
        with pytest.raises(WrongInput, match=r"\d answers are of rows that it has no more") as refused:
            run(contract(server.url), volume)
        assert (refused.value.reason, server.requests) == ("InputChanged", asked)
        write(volume, problems("p", "q"))
        assert run(contract(server.url), volume).counts["answered"] == 4


def test_a_source_that_has_grown_under_way_is_asked_the_rest(volume: Path) -> None:
    write(volume, problems("p", "q"))
    with teacher() as server:
        interrupt_after(server, 3, contract(server.url, maxConcurrentRequests=1), volume)
        server.asked.clear()
        write(volume, problems("p", "q", "r"))
        result = run(contract(server.url), volume)
    assert (result.counts["answered"], server.requests) == (6, 3)
    assert run(contract("http://unused/v1"), volume).reason == "AlreadyComplete"


def test_several_shards_are_asked_the_prompts_of_one_source(volume: Path) -> None:
    with teacher() as server:
        run(contract(server.url, shards=2), volume, 0)
        rows = [{"problem": f"problem {number}", "answer": number, "uuid": f"u{number}"} for number in range(40)]
        write(volume, rows)
        with pytest.raises(WrongInput, match="generated was begun: prompts") as refused:
            run(contract(server.url, shards=2), volume, 1)
    assert refused.value.reason == "InputChanged"


def test_with_other_shards_only_answers_to_the_same_problem_are_taken_over(volume: Path) -> None:
    write(volume, problems("p", "q", "r", "s"))
    with teacher() as server:
        run(contract(server.url, shards=2), volume, 0)
        server.asked.clear()
        write(volume, problems("p", "Q", "R", "S"))
        run(contract(server.url), volume)
    assert server.asked == {f"Solve: {text}": 2 for text in "QRS"}
    assert {record["prompt"] for record in records(volume)} == set("pQRS")


def test_another_number_of_shards_takes_over_what_is_paid_for(volume: Path) -> None:
    with teacher() as server:
        run(contract(server.url, shards=3), volume, 0)
        interrupt_after(server, server.requests + 7, contract(server.url, shards=3), volume, index=1)
        server.asked.clear()
        results = [run(contract(server.url, shards=2), volume, index) for index in range(2)]
    assert sum(result.counts["answered"] for result in results) == 60
    assert server.requests == 60 - 20 - 7


def test_a_token_budget_ends_the_asking_and_the_rest_is_counted(volume: Path) -> None:
    with teacher() as server:
        result = run(contract(server.url, tokenBudget=70, maxConcurrentRequests=1), volume)
    assert (result.counts["answered"], result.counts["notAsked"], server.requests) == (10, 50, 10)
    assert "the budget left 50 unasked" in result.message


def test_a_token_budget_that_nobody_can_keep_ends_the_asking(volume: Path) -> None:
    with teacher(lambda *_: Reaction(usage=None)) as server:
        work = contract(server.url, tokenBudget=1_000_000, maxConcurrentRequests=1)
        with pytest.raises(WrongInput, match=r"/v1 does not report usage.* set requestBudget instead") as stop:
            run(work, volume)
        assert (stop.value.reason, server.requests) == ("NoUsage", 10)
        server.script = lambda *_: Reaction()
        counts = run(work, volume).counts
    assert (counts["answered"], counts["uncountedAnswers"], counts["completionTokens"]) == (60, 10, 50 * 7)


def test_a_request_budget_is_shared_by_the_shards(volume: Path) -> None:
    with teacher() as server:
        results = [
            run(contract(server.url, shards=2, requestBudget=20, maxConcurrentRequests=2), volume, index)
            for index in range(2)
        ]
    assert [result.counts["requests"] for result in results] == [10, 10]
    assert sum(result.counts["notAsked"] for result in results) == 40


def test_a_budget_that_suffices_leaves_nothing_unasked(volume: Path) -> None:
    with teacher() as server:
        counts = run(contract(server.url, requestBudget=60), volume).counts
    assert counts["answered"] == 60
    assert "notAsked" not in counts


def wrong_answers(url: str, min_acceptance_rate: float) -> GenerateContract:
    """Have answers judged that are never the reference answer."""
    filtering = FilterParameters(verifier="exact", min_acceptance_rate=min_acceptance_rate)
    return contract(url).model_copy(update={"filter": filtering})


def test_it_stops_when_too_few_answers_are_right_and_loses_nothing(volume: Path) -> None:
    write(volume, [{"problem": f"p{number}", "answer": "4", "uuid": f"u{number}"} for number in range(1000)])
    message = (
        r"accepted 0 of the last 200 generations judged \(0\.0 %\); rejected: 200 incorrect\. "
        r"At that rate at most .* asks for 30 %\. \d+ of 2000 generations are done, and kept in generated/shard-00000"
    )
    with teacher(lambda *_: Reaction(delay=0.02)) as server:
        with pytest.raises(WrongInput, match=message) as stopped:
            run(wrong_answers(server.url, 0.3), volume)
        assert stopped.value.reason == "AcceptanceRateTooLow"
        asked = server.requests
        assert 200 <= asked < 1500
        with pytest.raises(WrongInput, match=f"{asked} of 2000 generations are done"):
            run(wrong_answers(server.url, 0.3), volume)
        assert server.requests == asked
        assert run(contract(server.url), volume).counts["answered"] == 2000
        assert server.requests == 2000


def test_reference_answers_that_are_corrected_count_once_its_output_is_removed(volume: Path) -> None:
    rows = [{"problem": f"p{number}", "answer": "4", "uuid": number} for number in range(1000)]
    write(volume, rows)
    with teacher(lambda *_: Reaction(delay=0.02)) as server:
        with pytest.raises(WrongInput, match="or remove generated from the claim before it runs again"):
            run(wrong_answers(server.url, 0.9), volume)
        write(volume, [{**row, "answer": f"re: Solve: {row['problem']}"} for row in rows])
        shutil.rmtree(volume / "generated")
        server.script = lambda *_: Reaction()
        assert run(wrong_answers(server.url, 0.9), volume).counts["answered"] == 2000
    assert all(record["answer"] == record["content"] for record in records(volume))


def test_it_goes_on_when_enough_answers_are_right(volume: Path) -> None:
    write(
        volume, [{"problem": f"p{number}", "answer": f"re: Solve: p{number}", "uuid": number} for number in range(300)]
    )
    with teacher() as server:
        assert run(wrong_answers(server.url, 0.9), volume).counts["answered"] == 600


@pytest.mark.parametrize(
    "filtering",
    [{"min_acceptance_rate": 0.0}, {"min_acceptance_rate": 1.0, "verifier": "none"}],
    ids=["no-rate", "nothing-is-rejected"],
)
def test_nothing_is_judged_where_there_can_be_no_too_few_right_answers(volume: Path, filtering: dict[str, Any]) -> None:
    with teacher() as server:
        asking = contract(server.url).model_copy(update={"filter": FilterParameters(**filtering)})
        result = run(asking, volume)
    assert result.counts["answered"] == 60
    assert "acceptanceRate" not in result.metrics


def test_a_verifier_that_is_not_there_is_found_before_anything_is_asked(volume: Path) -> None:
    filtering = FilterParameters(verifier="python", entry_point="nowhere:right", min_acceptance_rate=0.3)
    with teacher() as server, pytest.raises(WrongInput, match="entryPoint nowhere:right"):
        run(contract(server.url).model_copy(update={"filter": filtering}), volume)
    assert server.requests == 0


def test_what_judges_answers_is_not_loaded_where_none_are_judged(process_environment: dict[str, str]) -> None:
    judging = {"distill_runtime.verification", "sympy", "numpy"}
    program = f"import sys, distill_runtime.stages.generate; print(*{judging} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], env=process_environment, check=True, capture_output=True)
    assert loaded.stdout == b"\n"


def test_an_answer_that_was_cut_off_is_asked_for_once_more_with_more_tokens(volume: Path) -> None:
    def script(question: str, before: int) -> Reaction:
        return Reaction(finish_reason="length" if question.endswith("7") and not before % 2 else "stop")

    sampling = {"generationsPerPrompt": 1, "maxTokens": 100, "retryTruncatedMaxTokens": 200}
    with teacher(script) as server:
        counts = run(contract(server.url, sampling=sampling), volume).counts
    assert (counts["finish.stop"], counts["requests"]) == (30, 33)
    assert Counter(body["max_tokens"] for body in server.bodies) == {100: 30, 200: 3}


def test_the_tokens_of_an_answer_that_was_cut_off_are_counted(volume: Path) -> None:
    sampling = {"generationsPerPrompt": 1, "maxTokens": 7, "retryTruncatedMaxTokens": 200}
    cut_off_once = lambda _, before: Reaction(finish_reason="stop" if before else "length")  # noqa: E731
    with teacher(cut_off_once) as server:
        result = run(contract(server.url, sampling=sampling), volume)
    assert (result.counts["answered"], result.counts["requests"]) == (30, 60)
    assert (result.counts["promptTokens"], result.counts["completionTokens"]) == (60 * 3, 60 * 7)
    assert result.counts["discardedTokens"] == 30 * 7
    assert result.metrics["meanCompletionTokens"] == 7


def test_the_tokens_of_an_answer_that_was_cut_off_use_up_the_budget(volume: Path) -> None:
    sampling = {"generationsPerPrompt": 1, "maxTokens": 7, "retryTruncatedMaxTokens": 200}
    cut_off_once = lambda _, before: Reaction(finish_reason="stop" if before else "length")  # noqa: E731
    with teacher(cut_off_once) as server:
        counts = run(contract(server.url, sampling=sampling, tokenBudget=140, maxConcurrentRequests=1), volume).counts
    assert (counts["answered"], counts["notAsked"]) == (10, 20)


def test_a_server_that_cuts_answers_by_itself_is_found_out_early(volume: Path) -> None:
    message = "cuts answers at 7 tokens, although 16384 are asked for"
    with teacher(lambda *_: Reaction(finish_reason="length")) as server, pytest.raises(WrongInput, match=message):
        run(contract(server.url), volume)
    assert server.requests < 30


@pytest.fixture
def process_environment() -> dict[str, str]:
    root = Path(__file__).parents[4]
    return {**os.environ, "PYTHONPATH": str(root / "job_runtime"), "DISTILL_API_KEY": "sk-secret"}


def start(volume: Path, contract: GenerateContract, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    path = volume / "contract.json"
    path.write_text(contract.model_dump_json(by_alias=True, exclude_none=True))
    command = [sys.executable, "-m", "distill_runtime", "generate", "--contract", str(path), "--volume", str(volume)]
    return subprocess.Popen(
        [*command, *more], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def slow_server() -> Iterator[ScriptedTeacher]:
    with teacher(lambda *_: Reaction(delay=0.05)) as server:
        yield server


def test_a_key_is_sent_without_the_line_end_that_its_secret_has(
    volume: Path, process_environment: dict[str, str]
) -> None:
    with teacher() as server:
        environment = {**process_environment, "DISTILL_API_KEY": "sk-secret\n"}
        output, _ = start(volume, contract(server.url), environment).communicate()
    assert Result.model_validate_json(output).outcome == "Succeeded"
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-secret"}


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_a_key_that_no_header_can_carry_is_refused(
    volume: Path, process_environment: dict[str, str], more: tuple[str, ...]
) -> None:
    with teacher() as server:
        environment = {**process_environment, "DISTILL_API_KEY": "sk-secret\nsk-older"}
        output, errors = start(volume, contract(server.url), environment, *more).communicate()
    result = Result.model_validate_json(output)
    assert (result.outcome, result.reason) == ("WrongInput", "EndpointMisconfigured")
    assert "DISTILL_API_KEY" in result.message
    assert "secret" not in output + errors
    assert server.requests == 0


def test_kill_9_loses_nothing_and_asks_again_only_what_was_in_flight(
    volume: Path, slow_server: ScriptedTeacher, process_environment: dict[str, str]
) -> None:
    work = contract(slow_server.url, maxConcurrentRequests=4)
    moments = random.Random(4)
    kills = 0
    while True:
        process = start(volume, work, process_environment)
        before = slow_server.requests
        enough = moments.randint(5, 25)
        while process.poll() is None and slow_server.requests < before + enough:
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            kills += 1
        output, errors = process.communicate()
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, errors
    assert json.loads(output)["counts"]["answered"] == 60
    assert kills >= 2
    assert len({record["key"] for record in records(volume)}) == len(records(volume)) == 60
    assert slow_server.requests <= 60 + 4 * kills


def test_sigterm_ends_it_at_once_with_what_it_has(volume: Path, process_environment: dict[str, str]) -> None:
    with teacher(lambda *_: Reaction(delay=0.0 if server.requests < 10 else 30.0)) as server:
        process = start(volume, contract(server.url), process_environment)
        while server.requests < 18:  # ten are answered and written down before so many have been asked, eight at once
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        output, errors = process.communicate(timeout=25)
    assert process.returncode == EXIT_TERMINATED, errors
    assert json.loads(output)["outcome"] == "Terminated"
    partial = volume / "generated/shard-00000-of-00001.partial/generations.jsonl"
    assert partial.read_bytes().count(b"\n") == 10
    assert "sk-secret" not in output + errors


def test_progress_says_that_the_teacher_is_away_and_goes_on_when_it_is_back(
    volume: Path, process_environment: dict[str, str]
) -> None:
    port, teacher_port = unused_port(), unused_port()
    url = f"http://127.0.0.1:{teacher_port}/v1"
    process = start(volume, contract(url), process_environment, "--progress-port", str(port))
    try:
        deadline = time.monotonic() + 120
        message = ""
        while "refuses connections" not in message and time.monotonic() < deadline:
            message = progress(port).get("message", "")
            time.sleep(0.1)
        assert message.startswith(f"{url} refuses connections, for ")
        assert message.endswith("0 of 60 done; retrying")
        with teacher(port=teacher_port):
            output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    assert json.loads(output)["counts"]["answered"] == 60


def progress(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as response:
            return dict(json.load(response))
    except OSError:
        return {}


def test_check_finds_wrong_input_without_asking_anything(volume: Path, process_environment: dict[str, str]) -> None:
    with teacher() as server:
        good = start(volume, contract(server.url), process_environment, "--check")
        output, errors = good.communicate(timeout=30)
        assert (good.returncode, json.loads(output)["reason"]) == (0, "InputsValid"), errors
        bad = start(volume, contract(server.url, model="gpt"), process_environment, "--check")
        output, errors = bad.communicate(timeout=30)
    assert (bad.returncode, json.loads(output)["reason"]) == (78, "ModelNotServed"), errors
    assert server.requests == 0
    assert not (volume / "generated").exists()


def test_the_result_goes_where_it_is_wanted(volume: Path, process_environment: dict[str, str]) -> None:
    result_path = volume / "termination-log"
    result_path.touch()
    with teacher() as server:
        process = start(volume, contract(server.url), process_environment, "--result", str(result_path))
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, ""), errors
    assert Result.model_validate_json(result_path.read_text()).outcome == "Succeeded"


def served_by(definition: str, url: str, volume: Path) -> GenerateContract:
    """A contract whose teacher is a model on the volume, with a server beside the stage."""
    for name in ("teacher", "beside"):
        (volume / name).mkdir(exist_ok=True)
    (volume / "teacher" / "config.json").write_text("{}")
    output = str(volume / "beside")
    server = ServerBeside(name="other", definition=definition, health_path="/v1/models", output=output)
    served = ServedTeacher(uri="teacher", device_target="CPU", server=server)
    return contract(url).model_copy(update={"served": served})


def test_a_teacher_served_beside_the_stage_is_part_of_what_was_asked(volume: Path) -> None:
    with teacher() as server:
        asked = served_by("other:1", server.url, volume)
        (volume / "beside" / "log").write_text("loaded\n")
        first = run(asked, volume)
        assert [each.name for each in first.inputs] == ["prompts", "model", "server"]
        (log,) = volume.glob("generated.logs/*/server.log")
        assert log.read_text() == "loaded\n"
        with pytest.raises(WrongInput, match="server other was other:1, and is other:2 now") as refused:
            run(served_by("other:2", server.url, volume), volume)
    assert refused.value.reason == "InputChanged"


def test_answers_of_two_teachers_are_not_mixed(volume: Path) -> None:
    asked = served_by("other:1", f"http://127.0.0.1:{unused_port()}/v1", volume)
    (volume / "beside" / "history").write_text("started\nended 1\n" * 3)
    with pytest.raises(Retryable) as failed:
        run(asked, volume)
    assert failed.value.reason == "ServerFailed"
    (volume / "teacher" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(WrongInput, match="model teacher was ") as refused:
        run(asked, volume)
    assert refused.value.reason == "InputChanged"
