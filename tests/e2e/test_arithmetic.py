"""The example, whole: three objects applied in one go, the last first, down to the score; the operator is killed in
each stage."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.conftest import PROGRESS_SECONDS
from tests.e2e.example import BASELINE, KINDS, Example, open_example
from tests.e2e.workspace import STAGES, Workspace
from tests.harness.installation import Installation
from tests.harness.kubectl import condition, eventually

SERVED_ELSEWHERE = 200
"""Problems that the student is asked once more, served by another server."""
EVENTS = {"generate": "Generating", "filter": "Filtering", "pack": "Packing"}


@pytest.fixture(scope="module")
def example(installation: Installation) -> Iterator[Example]:
    """The example's three objects in a namespace of their own, under way or done."""
    with open_example(installation) as opened:
        yield opened


@pytest.fixture(scope="module")
def done(example: Example) -> Workspace:
    """Give the example's namespace once all is Ready."""
    return example.wait()


@pytest.mark.timeout(3600)
def test_the_operator_killed_in_each_stage_goes_on_without_a_second_job(example: Example) -> None:
    workspace = example.workspace
    for stage in STAGES:
        job = f"job/sums-{stage}-a1"
        workspace.kubectl("wait", job, "-n", workspace.namespace, "--for=create", "--timeout=3000s", timeout=3030)
        if event := EVENTS.get(stage):  # posted last, and not by the next operator if this one is killed before
            eventually(lambda: event in workspace.event_reasons(), f"Event {event}")
        _kill_operator(workspace.installation)
    example.wait()
    jobs = {job["metadata"]["name"] for job in workspace.jobs()}
    assert jobs == {f"sums-{stage}-a1" for stage in (*STAGES, "compare")}


def test_the_student_learns_two_digit_addition(done: Workspace) -> None:
    status = done.status("evalrun")
    assert status["problems"] >= 200
    assert status["score"] >= 90
    assert status["scoreLow"] < status["score"] <= status["scoreHigh"] <= 100
    printed = done.kubectl("get", "evalrun", "-n", done.namespace)
    assert f"{status['score']:g}" in printed.replace(".0 ", " ")
    assert status["interval"] in printed


def test_the_score_is_held_against_a_published_one_and_its_gate(done: Workspace) -> None:
    status = done.status("evalrun")
    (comparison,) = status["comparison"]
    assert (comparison["name"], comparison["method"]) == (BASELINE["name"], "unpaired")
    assert comparison["difference"] == pytest.approx(status["score"] - BASELINE["score"], abs=0.11)
    assert comparison["differenceLow"] > 0
    assert status["gate"]["held"]
    assert BASELINE["name"] in done.read(f"{status['artifact']['uri']}/report.md")


def test_counts_add_up_and_equal_what_the_teacher_injected(done: Workspace) -> None:
    status, stats = done.status("distilldataset"), done.teacher_stats()
    generations = status["prompts"] * 2
    answered, refused = stats["answered"], stats["refused"]
    assert status["generations"] == generations == sum(answered.values())
    assert status["kept"] + sum(status["rejected"].values()) == generations
    assert status["rejected"]["truncated"] == answered["truncated"]
    assert status["rejected"]["incorrect"] == answered["wrong"]
    assert refused["429"] > 0
    assert refused["503"] > 0


def test_every_reject_is_listed_with_its_reason(done: Workspace) -> None:
    status, stage = done.status("distilldataset"), done.stage("distilldataset", "filter")
    rejects = Counter(row["reason"] for row in done.rows(f"{stage['artifact']['uri']}/rejects.jsonl"))
    assert rejects == status["rejected"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_artifact_is_what_its_digest_says(done: Workspace, kind: str) -> None:
    artifact = done.status(kind)["artifact"]
    text = done.read(f"{artifact['uri']}/manifest.json")
    assert artifact["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    files = {file["path"]: file["sha256"] for file in json.loads(text)["files"]}
    assert files
    listed = done.on_volume(
        "sh", "-c", f"cd /data/{artifact['uri']} && find . -type f ! -name manifest.json -exec sha256sum {{}} +"
    )
    found = {path.removeprefix("./"): f"sha256:{digest}" for digest, path in map(str.split, listed.splitlines())}
    assert found == files


@pytest.mark.parametrize("kind", KINDS)
def test_a_kstatus_reader_calls_it_current(done: Workspace, kind: str) -> None:
    resource = json.dumps(done.get(kind))
    assert done.kubectl.run("kstatus", stdin=resource).startswith("Current")


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_an_object_costs_few_status_writes(example: Example, done: Workspace, kind: str) -> None:
    assert 0 < example.writes(kind) <= 6 + _seconds(done.get(kind)) / PROGRESS_SECONDS


def test_no_pod_has_kubernetes_credentials(done: Workspace) -> None:
    pods = done.kubectl.list("pods", done.namespace, "app.kubernetes.io/managed-by=npu-distill")
    assert {pod["metadata"]["labels"]["npu-distill.io/stage"] for pod in pods} >= set(STAGES)
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
        assert not [path for path in mounts if "serviceaccount" in path]


def test_events_tell_the_story(done: Workspace) -> None:
    events = done.kubectl.list("events", done.namespace)
    reasons = {event["reason"] for event in events if event["involvedObject"]["kind"] == "DistillDataset"}
    assert {*EVENTS.values(), "Packed"} <= reasons


def test_conditions_explain_themselves(done: Workspace) -> None:
    for kind in KINDS:
        ready = condition(done.get(kind), "Ready")
        assert ready["message"]
        assert done.status(kind)["observedGeneration"] == done.get(kind)["metadata"]["generation"]


def test_a_finished_pipeline_is_left_alone(done: Workspace) -> None:
    before = {kind: done.get(kind)["metadata"]["resourceVersion"] for kind in KINDS}
    writes = _writes(done)
    assert writes > 0
    done.on_volume("sleep", str(4 * PROGRESS_SECONDS))
    assert {kind: done.get(kind)["metadata"]["resourceVersion"] for kind in KINDS} == before
    assert _writes(done) == writes


def test_a_server_that_nobody_here_wrote_gives_the_same_answers(done: Workspace) -> None:
    """Last: what is counted above is of three objects."""
    elsewhere = {"serve": {"server": "mlx-lm"}, "benchmark": {"limit": SERVED_ELSEWHERE}, "protocol": {"maxTokens": 96}}
    done.apply(done.evaluation("elsewhere", **elsewhere))
    done.wait_for("evalrun", "elsewhere")
    theirs, ours = (_answers(done, name) for name in ("elsewhere", "sums"))
    assert len(theirs) == SERVED_ELSEWHERE
    assert theirs == {problem: ours[problem] for problem in theirs}


def _answers(workspace: Workspace, evaluation: str) -> dict[str, tuple[Any, ...]]:
    """Give what was answered to each problem, of how many tokens, and why it ended."""
    evaluated = workspace.stage("evalrun", "eval", evaluation)
    fields = ("content", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens")
    answers = workspace.rows(f"{evaluated['artifact']['uri']}/answers.jsonl")
    return {answer["uuid"]: tuple(answer[field] for field in fields) for answer in answers}


def _kill_operator(installation: Installation) -> None:
    selector = "app.kubernetes.io/name=npu-distill"
    installation.kubectl("delete", "pod", "-n", installation.namespace, "-l", selector, "--grace-period=0", "--force")


def _writes(workspace: Workspace) -> float:
    """Count what the operator wrote into the namespace since it started, whether that changed anything or not."""
    lines = _metrics(workspace.installation).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if _is_of_writes(line, workspace.namespace))


def _is_of_writes(line: str, namespace: str) -> bool:
    names = ("npu_distill_status_writes_total", "npu_distill_children_created_total")
    return line.startswith(names) and f'namespace="{namespace}"' in line


def _metrics(installation: Installation) -> str:
    path = f"/api/v1/namespaces/{installation.namespace}/services/{installation.release}:http/proxy/metrics"
    return installation.kubectl("get", "--raw", path)


def _seconds(resource: dict[str, Any]) -> float:
    start = datetime.fromisoformat(resource["metadata"]["creationTimestamp"])
    end = datetime.fromisoformat(condition(resource, "Ready")["lastTransitionTime"])
    return (end - start).total_seconds()
