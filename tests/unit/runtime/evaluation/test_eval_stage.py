"""The eval stage against an endpoint: what is asked, what is scored, what is said of what went wrong."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.scripted_teacher import MODEL, Reaction, teacher
from support.student import CONFIG

from distill_runtime.contract import ArtifactReference, Benchmark, EvalContract, Protocol, Result
from distill_runtime.contract.stages import EndpointTarget, ServerBeside, WeightsTarget
from distill_runtime.evaluation.fingerprint import fingerprint_tokenizer
from distill_runtime.evaluation.summary import SUMMARY_NAME, Summary
from distill_runtime.foundation.errors import Retryable, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.process.stage import StageContext, run_stage
from distill_runtime.stages import eval as eval_stage
from distill_runtime.storage.artifact import open_artifact, verify_content
from distill_runtime.storage.volume import Volume


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    problems = [{"problem": f"{number} + 1?", "answer": str(number + 1)} for number in range(10)]
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return StageContext(Volume(tmp_path), Reporter("eval", "problems"))


def contract(url: str, **protocol: object) -> EvalContract:
    return EvalContract(
        output="score",
        target=EndpointTarget(url=url, model=MODEL),
        benchmark=Benchmark(name="plus-one", uri="benchmark.jsonl"),
        protocol=Protocol.model_validate({"temperature": 0.5, "max_tokens": 32, "seed": 7} | protocol),
    )


def says(content: str, finish_reason: str = "stop") -> Reaction:
    return Reaction(message={"role": "assistant", "content": content}, finish_reason=finish_reason)


def student(question: str, _asked_before: int) -> Reaction:
    """Right about 0 to 5, wrong about 6, without an answer to 7, cut off at 8, refusing 9 and everything else."""
    number = number_in(question)
    if number < 6:
        return says(f"<think>\nadd one\n</think>\n\n\\boxed{{{number + 1}}}")
    wrong = {6: says("\\boxed{0}"), 7: says("I do not know."), 8: says("<think>\nlet me", "length")}
    return wrong.get(number, Reaction(status=400))


def right(question: str, _asked_before: int) -> Reaction:
    return says(f"\\boxed{{{number_in(question) + 1}}}")


def number_in(question: str) -> int:
    first = question.split(maxsplit=1)[0]
    return int(first) if first.isdecimal() else 9


def test_every_problem_is_accounted_for(context: StageContext, tmp_path: Path) -> None:
    with teacher(student) as server:
        result = eval_stage.run(contract(server.url), context)
    assert (result.outcome, result.reason) == ("Succeeded", "Scored")
    assert result.counts == {
        "problems": 10,
        "samples": 10,
        "correct": 6,
        "incorrect": 1,
        "noAnswer": 2,
        "unanswered": 1,
        "truncated": 1,
    }
    assert result.metrics["score"] == pytest.approx(60.0)
    assert result.metrics["truncatedRate"] == result.metrics["unansweredRate"] == 10.0
    assert "60.0 % (95 % interval 31.3 to 83.2, 10 problems)" in result.message
    assert "1 answers were cut off at maxTokens or at the end of the context" in result.message
    assert "1 were not answered and count as wrong" in result.message
    assert result.artifact is not None
    directory, manifest = open_artifact(context.volume, result.artifact)
    verify_content(directory, manifest)
    files = {file.path for file in manifest.files}
    assert {"report.html", "report.md", "inspect.eval", "lm-eval/results.json"} < files
    page = (directory / "report.html").read_text()
    assert "10 of 10 shown: all of them" in page
    assert page.count('data-verdict="truncated"') == page.count('data-verdict="unanswered"') == 1
    lines = [json.loads(line) for line in (tmp_path / "score" / "results.jsonl").read_text().splitlines()]
    assert [line["problem"] for line in lines] == [f"{number} + 1?" for number in range(10)]
    assert [line["samples"][0]["reason"] for line in lines[5:]] == [
        "correct",
        "incorrect",
        "noAnswer",
        "noAnswer",
        "unanswered",
    ]


def test_what_is_asked_is_the_protocol(context: StageContext) -> None:
    with teacher(student) as server:
        eval_stage.run(contract(server.url, samples_per_problem=2), context)
        bodies = [body for body in server.bodies if body["messages"][-1]["content"] == "3 + 1?"]
    assert sorted(body["seed"] for body in bodies) == [7, 8]
    for body in bodies:
        assert (body["model"], body["temperature"], body["max_tokens"]) == (MODEL, 0.5, 32)
        assert body["messages"][0]["role"] == "system"


def test_examples_are_turns_before_the_problem(context: StageContext) -> None:
    few_shot = [{"prompt": "1 + 1?", "answer": "2"}]
    protocol = {"few_shot": few_shot, "prompt_template": "Add: {prompt}", "system_prompt": ""}
    with teacher(lambda _question, _before: says("\\boxed{4}")) as server:
        eval_stage.run(contract(server.url, **protocol), context)
        bodies = [body for body in server.bodies if body["messages"][-1]["content"] == "Add: 3 + 1?"]
    assert [body["messages"] for body in bodies] == [
        [
            {"role": "user", "content": "Add: 1 + 1?"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "Add: 3 + 1?"},
        ]
    ]


def test_several_samples_are_averaged_over_each_problem(context: StageContext) -> None:
    def sometimes(question: str, asked_before: int) -> Reaction:
        number = number_in(question)
        return says(f"\\boxed{{{number + 1 if asked_before % 2 else 0}}}")

    with teacher(sometimes) as server:
        result = eval_stage.run(contract(server.url, samples_per_problem=2), context)
    assert result.metrics["score"] == pytest.approx(50.0)
    assert result.counts["samples"] == 20
    assert "10 problems x 2 samples" in result.message


def test_the_protocol_s_verifier_judges(context: StageContext) -> None:
    with teacher(lambda question, _: says(f"so it is {number_in(question) + 1.01}")) as server:
        result = eval_stage.run(contract(server.url, verifier="numeric", tolerance={"absolute": 0.05}), context)
    assert result.counts["correct"] == 10


@pytest.mark.parametrize(("system_prompt", "warned"), [("Think.", True), ("Put it within \\boxed{}.", False)])
def test_a_box_that_nobody_asks_for_is_said(context: StageContext, system_prompt: str, warned: bool) -> None:
    with teacher(right) as server:
        result = eval_stage.run(contract(server.url, system_prompt=system_prompt), context)
    assert ("warning: no prompt asks for \\boxed{}" in result.message) is warned


def test_choices_are_asked_in_letters_and_judged_by_them(context: StageContext, tmp_path: Path) -> None:
    """Whatever says what a row asks is the benchmark's, down to the reading of the rows."""
    header = "Question,Note,Right,Wrong\n"
    (tmp_path / "choices.csv").write_text(header + "".join(f"{n} + 1?,add,{n + 1},{n}\n" for n in range(10)))

    def chooses(question: str, _asked_before: int) -> Reaction:
        note, asked, *choices = question.splitlines()
        assert note == "add"
        (letter,) = (line[0] for line in choices if line[3:] == str(number_in(asked) + 1))
        return says(f"The answer is ({letter}).")

    benchmark = {
        "name": "choices",
        "uri": "choices.csv",
        "problemTemplate": "{Note}\n{Question}\n{choices}",
        "answerColumn": "Right",
        "choiceColumns": ["Right", "Wrong"],
        "choiceOrder": "shuffled",
    }
    with teacher(chooses) as server:
        asked = contract(server.url, verifier="choice")
        result = eval_stage.run(asked.model_copy(update={"benchmark": Benchmark.model_validate(benchmark)}), context)
    assert result.counts["correct"] == 10
    lines = [json.loads(line) for line in (tmp_path / "score" / "results.jsonl").read_text().splitlines()]
    assert {line["answer"] for line in lines} == {"A", "B"}


def test_a_verifier_that_is_not_there_is_refused_before_anything_is_asked(context: StageContext) -> None:
    with teacher(right) as server, pytest.raises(WrongInput) as refused:
        eval_stage.run(contract(server.url, verifier="regex", answer_pattern="(("), context)
    assert refused.value.reason == "InvalidPattern"
    assert not server.bodies


def test_the_summary_has_what_the_samples_tell(context: StageContext, tmp_path: Path) -> None:
    rows = [{"problem": f"{number} + 1?", "answer": str(number + 1), "level": number // 5} for number in range(10)]
    (tmp_path / "benchmark.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with teacher(student) as server:
        asked = contract(server.url, samples_per_problem=2)
        benchmark = asked.benchmark.model_copy(update={"group_columns": ("level",)})
        result = run_stage(eval_stage, asked.model_copy(update={"benchmark": benchmark}), context)
    summary = Summary.model_validate_json((tmp_path / "score" / SUMMARY_NAME).read_bytes())
    levels, lengths = summary.breakdowns
    assert [(group.value, group.score) for group in levels.groups] == [("0", 100.0), ("1", 20.0)]
    assert sum(group.samples for group in lengths.groups) == summary.samples == 20
    assert (summary.pass_at, summary.maj_at) == ({"1": 60.0, "2": 60.0}, {"1": 60.0, "2": 60.0})
    assert summary.run_stderr == result.metrics["runStderr"] == 0.0
    fingerprint = summary.fingerprint
    assert fingerprint.benchmark is not None
    assert fingerprint.benchmark.startswith("sha256:")
    assert fingerprint.server == server.url
    assert "math-verify" in (fingerprint.verifier or "")
    assert "seed" in (fingerprint.sampling or "")
    assert fingerprint.weights is not None


def test_a_score_of_nothing_is_no_score(context: StageContext) -> None:
    refuse_problems = lambda question, _: Reaction(200 if question == "What is 1 + 1?" else 400)  # noqa: E731
    with teacher(refuse_problems) as server, pytest.raises(WrongInput) as refused:
        eval_stage.run(contract(server.url), context)
    assert refused.value.reason == "NothingAnswered"


def test_what_a_server_refused_before_it_was_mended_is_asked_again(context: StageContext) -> None:
    with teacher(lambda *_: Reaction(status=400)) as server:
        with pytest.raises(WrongInput) as refused:
            eval_stage.run(contract(server.url), context)
        assert refused.value.reason == "EndpointRefuses"
        server.script = right
        assert eval_stage.run(contract(server.url), context).metrics["score"] == 100.0


def test_what_a_server_cut_before_its_limit_was_raised_is_asked_again(context: StageContext) -> None:
    with teacher(lambda *_: says("<think>\nlet me", "length")) as server:
        message = "cuts answers at 7 tokens, although 32 are asked for"
        with pytest.raises(WrongInput, match=message) as capped:
            eval_stage.run(contract(server.url), context)
        assert capped.value.reason == "EndpointCapsOutput"
        server.script = right
        assert eval_stage.run(contract(server.url), context).metrics["score"] == 100.0


def judged(question: str, _asked_before: int) -> Reaction:
    """Accept what is right in words."""
    verdict = "correct" if "seven" in question.rpartition("<answer>")[2] else "incorrect"
    return says(f"I see.\nVerdict: {verdict}")


def test_a_judge_decides_about_what_is_not_right(context: StageContext, tmp_path: Path) -> None:
    def in_words(question: str, asked_before: int) -> Reaction:
        return says("It is seven.") if number_in(question) == 6 else student(question, asked_before)

    asked_with = StageContext(context.volume, context.reporter, api_key="sk-student", judge_api_key="sk-judge")
    with teacher(in_words) as server, teacher(judged) as judge:
        asked = contract(server.url, judge={"endpoint": {"url": judge.url, "model": MODEL}, "agreementSample": 4})
        result = run_stage(eval_stage, asked, asked_with)
        assert judge.requests == 6  # four that are right, and the two that are neither cut off nor unanswered
        assert {headers["Authorization"] for headers in judge.headers} == {"Bearer sk-judge"}
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-student"}
        assert ("judge", judge.url) in [(each.name, each.uri) for each in result.inputs]
    assert {name: count for name, count in result.counts.items() if "judge" in name or name == "correct"} == {
        "correct": 7,
        "judge.asked": 2,
        "judge.accepted": 1,
        "judge.correct.rejected": 4,
        "judge.noAnswer.accepted": 1,
        "judge.noAnswer.rejected": 1,
    }
    assert result.metrics["score"] == pytest.approx(70.0)
    assert result.metrics["judgeFalseRejectRate"] == 1.0
    assert "the judge accepted 1 of 2 answers" in result.message
    lines = [json.loads(line) for line in (tmp_path / "score" / "results.jsonl").read_text().splitlines()]
    (accepted,) = [line["samples"][0] for line in lines if line["samples"][0]["decidedBy"] == "judge" and line["score"]]
    assert (accepted["reason"], accepted["why"]) == ("correct", "I see.\nVerdict: correct")
    summary = Summary.model_validate_json((tmp_path / "score" / SUMMARY_NAME).read_bytes())
    told = json.loads(summary.fingerprint.verifier or "")["judge"]
    assert (told["model"], told["verdictPattern"]) == (MODEL, asked.protocol.judge.verdict_pattern)
    assert judge.url not in (summary.fingerprint.verifier or "")
    assert "What the judge says of answers" in (tmp_path / "score" / "report.html").read_text()


def test_a_judge_that_is_away_is_said_and_nothing_is_asked_again(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with teacher(student) as server, teacher(judged) as judge:
        asked = contract(server.url, judge={"endpoint": {"url": judge.url, "model": MODEL}})
        judge.script = lambda *_: Reaction(disconnect=True)
        with monkeypatch.context() as impatient:
            impatient.setattr("distill_runtime.judge.asking.UNAVAILABLE_TIMEOUT_SECONDS", 1)
            with pytest.raises(Retryable, match="the judge: no endpoint has answered") as away:
                eval_stage.run(asked, context)
        assert away.value.reason == "EndpointUnreachable"
        answered = server.requests
        judge.script = judged
        assert eval_stage.run(asked, context).counts["judge.asked"] == 2
        assert server.requests == answered


def test_killed_it_asks_only_what_is_missing(context: StageContext, tmp_path: Path) -> None:
    def slowly(question: str, asked_before: int) -> Reaction:
        reaction = student(question, asked_before)
        return Reaction(reaction.status, delay=0.1, message=reaction.message, finish_reason=reaction.finish_reason)

    with teacher(slowly) as server:
        file = tmp_path / "contract.json"
        file.write_text(contract(server.url, max_concurrent_requests=1).model_dump_json(by_alias=True))
        command = [sys.executable, "-m", "distill_runtime", "eval", f"--contract={file}", f"--volume={tmp_path}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        stage = subprocess.Popen(command, env=environment)
        while server.requests < 4:
            time.sleep(0.02)
        stage.kill()
        stage.wait()
        subprocess.run(command, env=environment, check=True)
        assert server.requests <= 10 + 1  # the one that was under way
        assert len(server.asked) == 10


def test_answers_are_judged_while_others_are_asked_for(context: StageContext) -> None:
    seen: list[tuple[dict[str, int], dict[str, float]]] = []

    def last_when_the_others_are_judged(question: str, asked_before: int) -> Reaction:
        if number_in(question) == 8:
            deadline = time.monotonic() + 60
            while context.reporter.snapshot().counts.get("judged", 0) < 8 and time.monotonic() < deadline:
                time.sleep(0.02)
            said = context.reporter.snapshot()
            seen.append((said.counts, said.metrics))
        return student(question, asked_before)

    with teacher(last_when_the_others_are_judged) as server:
        eval_stage.run(contract(server.url, max_concurrent_requests=1), context)
    assert seen == [({"judged": 8, "correct": 6, "truncated": 0, "unanswered": 0}, {"scoreSoFar": 75.0})]


def test_weights_that_are_not_there_are_found_out_by_the_check(context: StageContext) -> None:
    target = WeightsTarget(uri="nowhere", device_target="CPU", url="http://127.0.0.1:1/v1")
    with pytest.raises(WrongInput) as refused:
        eval_stage.check(contract("http://x").model_copy(update={"target": target}), context)
    assert refused.value.reason == "ModelConfigMissing"


def test_weights_that_would_take_years_are_refused_before_they_are_loaded(
    context: StageContext, tmp_path: Path
) -> None:
    large = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    positions = {"num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 131072}
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(json.dumps(CONFIG | large | positions))
    target = WeightsTarget(uri="large", device_target="Ascend", url="http://127.0.0.1:1/v1")
    asked = contract("http://x", max_tokens=32768).model_copy(update={"target": target})
    for entry in (eval_stage.check, eval_stage.run):
        with pytest.raises(WrongInput, match=r"spec\.serve: \{server: vllm-ascend\}") as refused:
            entry(asked, context)
        assert refused.value.reason == "TooLargeToServe"


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 32}, "ContextTooShort"),
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 32, "rope_scaling": {"type": "yarn", "factor": 4.0}}, None),
        ({"max_position_embeddings": 32, "rope_parameters": {"rope_type": "yarn"}}, None),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default"}}, 4096),
        ({"max_position_embeddings": "many"}, None),
        ({"max_position_embeddings": True}, None),
        ({"model_type": "unheard-of"}, None),
        ([], "UnsupportedModel"),
    ],
)
def test_the_check_tells_how_long_a_server_may_make_sequences(
    context: StageContext, tmp_path: Path, config: object, positions: int | str | None
) -> None:
    """Of models that our own server does not know, too."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    server = ServerBeside(name="other", definition="other:1")
    target = WeightsTarget(uri="model", device_target="CPU", url="http://127.0.0.1:1/v1", server=server)
    asked = contract("http://x").model_copy(update={"target": target})
    if isinstance(positions, str):
        with pytest.raises(WrongInput) as refused:
            eval_stage.check(asked, context)
        assert refused.value.reason == positions
        return
    eval_stage.check(asked, context)
    assert context.reporter.snapshot().metrics.get("positions") == positions


def test_another_version_of_a_server_is_another_input(context: StageContext, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")

    def server_of(definition: str) -> list[str]:
        server = ServerBeside(name="vllm-ascend", definition=definition)
        target = WeightsTarget(uri="model", device_target="CPU", url="http://127.0.0.1:1/v1", server=server)
        asked = contract("http://x").model_copy(update={"target": target})
        return [each.value for each in eval_stage.fingerprints(asked, context) if each.name == "server"]

    assert server_of("vllm-ascend:1, command sha256:a") == ["vllm-ascend:1, command sha256:a"]
    assert server_of("") == []  # our own, whose versions are in the manifest


def test_the_chat_template_is_part_of_the_tokenizer(tmp_path: Path) -> None:
    target = WeightsTarget(uri="model", device_target="CPU", url="http://127.0.0.1:1/v1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    seen = [fingerprint_tokenizer(target, Volume(tmp_path))]
    for name, content in (("tokenizer.json", "{}"), ("chat_template.jinja", "a"), ("chat_template.jinja", "b")):
        (tmp_path / "model" / name).write_text(content)
        seen.append(fingerprint_tokenizer(target, Volume(tmp_path)))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"others")
    assert fingerprint_tokenizer(target, Volume(tmp_path)) == seen[-1]
    assert seen[0] is None
    assert len(set(seen)) == len(seen)
    assert fingerprint_tokenizer(EndpointTarget(url="http://x/v1", model="m"), Volume(tmp_path)) is None


def test_an_endpoint_s_score_is_that_of_the_weights_it_belongs_to(context: StageContext) -> None:
    weights = ArtifactReference(uri="npu-distill/a/run/train-1", digest=f"sha256:{'a' * 64}")
    with teacher(right) as server:
        asked = contract(server.url)
        target = asked.target.model_copy(update={"weights": weights})
        result = run_stage(eval_stage, asked.model_copy(update={"target": target}), context)
    assert [(each.name, each.value) for each in result.inputs][2:] == [("model", weights.digest)]


def test_a_model_that_the_endpoint_does_not_serve_is_found_out_by_the_check(context: StageContext) -> None:
    with teacher(student) as server:
        server.served = server.listed = ["another"]
        with pytest.raises(WrongInput, match="another") as refused:
            eval_stage.check(contract(server.url), context)
    assert refused.value.reason == "ModelNotServed"


def score(context: StageContext, url: str) -> Result:
    return run_stage(eval_stage, contract(url), context)


def replace_answers(volume: Path) -> None:
    """Put another answer of the same length to every problem."""
    problems = [{"problem": f"{number} + 1?", "answer": str((number + 2) % 10)} for number in range(10)]
    (volume / "benchmark.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))


def test_the_score_of_a_benchmark_that_was_replaced_is_its_own(context: StageContext, tmp_path: Path) -> None:
    original = (tmp_path / "benchmark.jsonl").read_bytes()
    with teacher(right) as server:
        first = score(context, server.url)
        replace_answers(tmp_path)
        second = score(context, server.url)
        assert (first.metrics["score"], second.metrics["score"]) == (100.0, 0.0)
        asked = server.requests
        (tmp_path / "benchmark.jsonl").write_bytes(original)
        again = score(context, server.url)
    assert (again.reason, again.artifact, again.inputs) == ("AlreadyComplete", first.artifact, first.inputs)
    assert server.requests == asked


def test_the_score_of_another_model_behind_a_name_is_its_own(context: StageContext) -> None:
    with teacher(right) as server:
        server.roots[MODEL] = "/models/first"
        first = score(context, server.url)
        assert [each.name for each in first.inputs] == ["benchmark", "endpoint"]
        assert first.inputs[1].value == f"{MODEL}, loaded from /models/first"
        server.roots[MODEL] = "/models/second"
        server.script = student
        second = score(context, server.url)
    assert (first.metrics["score"], second.metrics["score"]) == (100.0, 60.0)


def test_a_server_that_was_started_again_is_no_other_model(context: StageContext) -> None:
    with teacher(right) as server:
        first = score(context, server.url)
        server.created += 3600
        assert score(context, server.url).artifact == first.artifact


def test_the_score_of_weights_that_were_replaced_is_not_taken_over(context: StageContext, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    target = WeightsTarget(uri="model", device_target="CPU", url="http://127.0.0.1:1/v1")
    asked = contract("http://x").model_copy(update={"target": target})
    (tmp_path / "model" / "model.safetensors").write_bytes(b"first")
    first = eval_stage.fingerprints(asked, context)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    assert eval_stage.fingerprints(asked, context) != first


def test_answers_to_two_benchmarks_are_not_mixed(context: StageContext, tmp_path: Path) -> None:
    with teacher(lambda *_: says("<think>\nlet me", "length")) as server:
        with pytest.raises(WrongInput, match="cuts answers"):
            score(context, server.url)
        server.script = right
        replace_answers(tmp_path)
        with pytest.raises(WrongInput, match=r"score was begun: benchmark benchmark\.jsonl was sha256:") as refused:
            score(context, server.url)
    assert refused.value.reason == "InputChanged"
