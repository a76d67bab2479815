"""Eval: go to where the student is served, ask it the benchmark's problems, score its answers.

    answers.jsonl   a line a sample, as the student gave it (see `client.journal`); what a restarted stage goes on from
    judgements.jsonl  with a judge, a line for each question to it, in the same form
    results.jsonl   a line a problem: its samples' final answers and verdicts
    summary.json    score, interval, errors, breakdowns, protocol; see `evaluation.summary`
    overlap.jsonl   a line a problem that shares words with a prompt of the training data, where that is known

and what `evaluation.outputs` makes of these two.

A problem that could not be answered is wrong, and counted as unanswered: a score must not rise by an outage.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from distill_runtime.client.ask import Client
from distill_runtime.client.journal import Journal
from distill_runtime.client.served_model import fingerprint_endpoint
from distill_runtime.client.values import Request
from distill_runtime.contract import (
    EvalContract,
    InputFingerprint,
    PromptSource,
    Protocol,
    Result,
)
from distill_runtime.contract.stages import OWN_SERVER, EndpointTarget, WeightsTarget
from distill_runtime.evaluation.asking import (
    ask_endpoint,
    ask_server_beside,
    client_settings,
    report_judging,
    sample_requests,
)
from distill_runtime.evaluation.evaluated import Evaluated
from distill_runtime.evaluation.fingerprint import fingerprint_of, fingerprint_tokenizer
from distill_runtime.evaluation.grouping import read_columns
from distill_runtime.evaluation.judged import judge_samples
from distill_runtime.evaluation.judging import Judging
from distill_runtime.evaluation.outputs import write_outputs
from distill_runtime.evaluation.overlap import measure_overlap
from distill_runtime.evaluation.score import ANSWERS_NAME, RESULTS_NAME, ProblemResult, Sample, count_samples
from distill_runtime.evaluation.summarising import describe, metrics_of, summarise
from distill_runtime.evaluation.summary import SUMMARY_NAME
from distill_runtime.evaluation.training_prompt import training_prompt
from distill_runtime.foundation.boxes import one_sided_box, unasked_box
from distill_runtime.foundation.cpus import available_cpus
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.judge.agreement import Agreement
from distill_runtime.judge.asking import check_judge, fingerprint_judge
from distill_runtime.process import event_loop
from distill_runtime.process.child_process import make_logs_directory
from distill_runtime.process.stage import StageContext
from distill_runtime.serving.beside import Server, fingerprint_server
from distill_runtime.serving.limits import LARGEST_BATCH, check_servable
from distill_runtime.sources.fingerprint import fingerprint_source
from distill_runtime.sources.layout import Selection
from distill_runtime.sources.prompts import Prompt, open_prompts
from distill_runtime.storage.artifact import ArtifactWriter, open_artifact, own_version, versions_of
from distill_runtime.storage.fingerprints import fingerprint_artifact
from distill_runtime.storage.inputs import refuse_changes
from distill_runtime.training.architecture import read_architecture, read_positions
from distill_runtime.training.inputs import fingerprint_model
from distill_runtime.training.tensors import read_directory
from distill_runtime.training.weight_names import check_shapes
from distill_runtime.verification import Verifier, open_verifier

_PACKAGES: Final = ("math-verify",)
_SERVING_PACKAGES: Final = ("mindspore", "mindformers")


def fingerprints(contract: EvalContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    """Tell what the benchmark is, the model, and the judge.

    Raises:
        WrongInput: as `fingerprint_source` and `fingerprint_model`.
        Retryable: EndpointUnreachable.
    """
    return *_fingerprints(contract, context), *fingerprint_judge(contract.protocol.judge, context)


def _fingerprints(contract: EvalContract, context: StageContext) -> tuple[InputFingerprint, ...]:
    benchmark, target = contract.benchmark, contract.target
    selection = Selection(benchmark.subset, benchmark.split)
    problems = fingerprint_source("benchmark", benchmark.uri, context.volume, selection)
    if isinstance(target, EndpointTarget):
        settings = client_settings(contract.protocol, context, target)
        context.reporter.update(message="asking the endpoint which model it serves")
        served = event_loop.run(fingerprint_endpoint(settings))
        weights = (fingerprint_artifact("model", target.weights),) if target.weights is not None else ()
        return problems, served, *weights
    return problems, _fingerprint_weights(target, context), *fingerprint_server(target.server)


def _fingerprint_weights(target: WeightsTarget, context: StageContext) -> InputFingerprint:
    if target.weights is not None:
        return fingerprint_artifact("model", target.weights)
    assert target.uri is not None
    return fingerprint_model(target.uri, context.volume)


def check(contract: EvalContract, context: StageContext) -> None:
    """Read the benchmark, open the verifier, ask the judge which models it serves; look at the weights, or ask the
    endpoint too.

    Raises:
        WrongInput: where `run` would.
    """
    problems = _read_problems(contract, context)
    open_verifier(contract.protocol)
    check_judge(contract.protocol.judge, context)
    read_columns(contract.benchmark, problems.prompts, context.volume)
    if isinstance(contract.target, EndpointTarget):
        settings = client_settings(contract.protocol, context, contract.target)

        async def check_endpoint() -> None:
            async with Client(settings) as client:
                await client.check_endpoints()

        event_loop.run(check_endpoint())
    else:
        _check_weights(contract.target, contract, context)
        refuse_changes(context.volume, contract, fingerprints(contract, context))


def run(contract: EvalContract, context: StageContext) -> Result:
    """Ask what is not in the journal yet, verify the answers as they come, have the judge decide about those that are
    not right, write the score.

    Raises:
        WrongInput: as `check`, and InputChanged, EndpointRefuses, EndpointCapsOutput or NothingAnswered.
        Retryable: EndpointUnreachable or ServerFailed, or as `Judging` and `judge_samples`.
    """
    started = datetime.now(UTC)
    problems = _read_problems(contract, context)
    verifier = open_verifier(contract.protocol)
    check_judge(contract.protocol.judge, context)
    versions = versions_of(_packages(contract))
    verifying = {**{name: versions[name] for name in _PACKAGES}, "npu-distill": own_version()}
    columns = read_columns(contract.benchmark, problems.prompts, context.volume)
    refuse_changes(context.volume, contract, context.fingerprints)
    writer = ArtifactWriter(context.volume, contract, context.fingerprints)
    answers = writer.directory / ANSWERS_NAME
    total = len(problems.prompts) * contract.protocol.samples_per_problem
    with Journal(answers) as journal:
        requests = sample_requests(contract.protocol, contract.target.model, problems.prompts)
        with _open_judging(contract, verifier, verifying, problems.prompts, answers, writer.work) as judging:
            context.reporter.update(done=judging.judged, total=total, unit="samples", counts=judging.counts)
            if journal.tally.outcomes < total:
                missing = (request for request in requests if request.key not in journal)
                _ask(contract, context, missing, journal, judging)
            judging.finish(lambda: report_judging(judging, context, "verifying the answers"))
    agreement = _ask_judge(contract, problems.prompts, judging.samples, writer.directory, context)
    results = _results(contract.protocol, problems.prompts, judging.samples)
    _write_results(results, writer.directory / RESULTS_NAME)
    counts = count_samples(results) | problems.rejected | (agreement.counts if agreement else {})
    if counts["unanswered"] == counts["samples"]:
        raise WrongInput(
            "NothingAnswered",
            f"none of {total} samples was answered; why, is in {answers.relative_to(context.volume.root)}",
        )
    context.reporter.update(message="holding the problems against the training data")
    samples_per_problem = contract.protocol.samples_per_problem
    overlap, rows = measure_overlap(
        contract.target.weights, results, samples_per_problem, context.volume, writer.directory
    )
    tokenizer = fingerprint_tokenizer(contract.target, context.volume)
    fingerprint = fingerprint_of(contract, context.fingerprints, versions, tokenizer)
    summary = summarise(contract.benchmark.name, contract.protocol, fingerprint, results, counts, columns, overlap)
    (writer.directory / SUMMARY_NAME).write_text(summary.model_dump_json(by_alias=True, indent=2), encoding="utf-8")
    metrics = metrics_of(summary) | (agreement.metrics if agreement else {})
    context.reporter.update(message="writing the reports")
    evaluated = Evaluated(contract, results, summary, versions | verifying, started, datetime.now(UTC))
    message = "; ".join([describe(summary), *([str(agreement)] if agreement else []), *_warnings(contract, context)])
    write_outputs(evaluated, message, [agreement.chart()] if agreement else [], answers, writer.directory)
    read = [reference for reference in (contract.target.weights, rows) if reference is not None]
    noted = (fingerprint_artifact("trainingData", rows),) if rows is not None else ()
    artifact = writer.finish(counts, metrics, read, versions, noted)
    return Result(
        outcome="Succeeded",
        reason="Scored",
        message=message,
        artifact=artifact,
        counts=counts,
        metrics=metrics,
        inputs=noted,
    )


def _packages(contract: EvalContract) -> tuple[str, ...]:
    """Name the packages whose versions have a bearing on the score."""
    target = contract.target
    served_here = isinstance(target, WeightsTarget) and target.server.name == OWN_SERVER
    return _PACKAGES + _SERVING_PACKAGES if served_here else _PACKAGES


@dataclass(frozen=True)
class _Problems:
    """The benchmark: what can be asked, and counts of what cannot."""

    prompts: list[Prompt]
    rejected: dict[str, int]


def _read_problems(contract: EvalContract, context: StageContext) -> _Problems:
    table = contract.benchmark.model_dump(include=set(PromptSource.model_fields))
    source = PromptSource.model_validate(table)
    prompts = open_prompts(source, context.volume)
    survey = prompts.survey(0, 1)
    return _Problems(
        prompts=list(prompts.read(0, 1, survey.repeated)),
        rejected={f"rejected.{reason}": count for reason, count in sorted(survey.rejected.items())},
    )


def _check_weights(target: WeightsTarget, contract: EvalContract, context: StageContext) -> None:
    """Make sure that the weights are those that were meant and, of our own server, that it can serve them.

    What other servers can serve is theirs to say. How many positions the model has goes into the preflight's result,
    from where the operator knows it when it plans the server.

    Raises:
        WrongInput: ContextTooShort, or as `open_artifact`, `read_positions`, `read_architecture`, `check_servable` and
            `check_shapes`.
    """
    if target.weights is not None:
        directory, _manifest = open_artifact(context.volume, target.weights)
    else:
        assert target.uri is not None
        directory = context.volume.resolve(target.uri)
    if target.server.name != OWN_SERVER:
        positions = read_positions(directory)
        context.reporter.update(metrics={"positions": positions} if positions is not None else {})
        if positions is not None and contract.protocol.max_tokens >= positions:
            raise WrongInput(
                "ContextTooShort",
                f"protocol.maxTokens is {contract.protocol.max_tokens}, and the model has {positions} positions for "
                "prompt and answer together: lower maxTokens by the longest prompt at least",
            )
        return
    architecture = read_architecture(directory)
    batch_size = min(LARGEST_BATCH, contract.requests_at_once)
    check_servable(architecture, contract.protocol, target.device_target, batch_size, available_cpus())
    shapes = {name: tensor.shape for name, tensor in read_directory(directory).items()}
    check_shapes(shapes, architecture, context.volume.relative(directory))


def _ask(
    contract: EvalContract, context: StageContext, missing: Iterator[Request], journal: Journal, judging: Judging
) -> None:
    """Have everything answered by the endpoint, or by the server beside the stage once that is ready."""
    target = contract.target
    settings = client_settings(contract.protocol, context, target)
    if isinstance(target, EndpointTarget):
        event_loop.run(ask_endpoint(settings, missing, journal, judging, context))
        return
    _check_weights(target, contract, context)
    logs = make_logs_directory(context.volume.resolve(contract.output), f"attempt-{contract.attempt}")
    server = Server(target.server, target.url, logs)
    try:
        server.wait_until_ready(lambda message: context.reporter.update(message=message))
        event_loop.run(ask_server_beside(settings, missing, server.check, journal, judging, context))
    finally:
        server.keep_output()


def _open_judging(
    contract: EvalContract,
    verifier: Verifier,
    versions: Mapping[str, str],
    prompts: list[Prompt],
    answers: Path,
    directory: Path,
) -> Judging:
    references = {prompt.uuid: prompt.answer for prompt in prompts}
    return Judging(verifier, contract.protocol.verify_timeout_seconds, versions, references, answers, directory)


def _ask_judge(
    contract: EvalContract,
    prompts: list[Prompt],
    samples: dict[str, dict[int, Sample]],
    directory: Path,
    context: StageContext,
) -> Agreement | None:
    judge = contract.protocol.judge
    if judge is None:
        return None
    return judge_samples(judge, {prompt.uuid: prompt for prompt in prompts}, samples, directory, context)


def _results(
    protocol: Protocol, prompts: list[Prompt], samples: Mapping[str, Mapping[int, Sample]]
) -> list[ProblemResult]:
    """Give the problems in the benchmark's order, each with all its samples."""
    return [
        ProblemResult(
            uuid=prompt.uuid,
            problem=prompt.text,
            answer=prompt.answer,
            samples=[samples[prompt.uuid][number] for number in range(protocol.samples_per_problem)],
        )
        for prompt in prompts
    ]


def _write_results(results: list[ProblemResult], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for result in results:
            line = {
                "uuid": result.uuid,
                "problem": result.problem,
                "answer": result.answer,
                "score": result.score,
                "samples": [
                    {
                        "sample": sample.number,
                        "correct": sample.correct,
                        "reason": sample.reason or "unanswered",
                        "decidedBy": sample.decided_by,
                        **({"why": sample.why} if sample.why is not None else {}),
                        "extracted": sample.extracted,
                        "finishReason": sample.finish_reason,
                    }
                    for sample in result.samples
                ],
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _warnings(contract: EvalContract, context: StageContext) -> list[str]:
    """Say where a box is asked for, or looked for, on one side alone."""
    asked_with = (*contract.protocol.texts, contract.benchmark.problem_template or "")
    found = [unasked_box(contract.protocol.verifier, asked_with)]
    if isinstance(contract.target, WeightsTarget) and contract.target.weights is not None:
        trained_with = training_prompt(contract.target.weights, context.volume)
        found.append(None if trained_with is None else one_sided_box(trained_with, asked_with))
    return [warning for warning in found if warning is not None]
