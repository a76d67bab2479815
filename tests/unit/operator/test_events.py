"""Which changes a person finds in `kubectl describe`."""

import pytest
from unit.operator.builders import NOW, stage_status, succeeded_stage

from distill_operator.api import StageState, StageStatus, Status
from distill_operator.plan.events import Notice, notices
from distill_operator.plan.pipeline import Phase, Verdict
from distill_operator.plan.status import conditions


def status(verdict: Verdict | None = None, *stages: StageStatus) -> Status:
    said = conditions(verdict, Status(), 1, NOW) if verdict is not None else ()
    return Status(conditions=said, stages=stages)


GENERATING = Verdict(Phase.PROGRESSING, "Generating", "Job a1 starts.")
FILTERING = Verdict(Phase.PROGRESSING, "Filtering", "Job a1 starts.")


def test_no_change_is_no_event() -> None:
    assert notices(status(GENERATING), status(GENERATING)) == []


def test_a_new_number_is_no_event() -> None:
    now = Verdict(Phase.PROGRESSING, "Generating", "5 of 9")
    assert notices(status(GENERATING), status(now)) == []


@pytest.mark.parametrize(
    ("verdict", "event_type"),
    [
        (GENERATING, "Normal"),
        (Verdict(Phase.DONE, "Packed", "done"), "Normal"),
        (Verdict(Phase.SUSPENDED, "Suspended", "suspended"), "Normal"),
        (Verdict(Phase.FAILED, "OutOfMemory", "raise the limit"), "Warning"),
        (Verdict(Phase.PROGRESSING, "Unschedulable", "0/2 nodes"), "Warning"),
        (Verdict(Phase.PROGRESSING, "ImagePullBackOff", "no image"), "Warning"),
        (Verdict(Phase.PROGRESSING, "ApplyFailed", "quota"), "Warning"),
        (Verdict(Phase.PROGRESSING, "PodStuckTerminating", "node-7 is down"), "Warning"),
    ],
)
def test_a_new_reason_is_an_event(verdict: Verdict, event_type: str) -> None:
    assert notices(status(), status(verdict)) == [Notice(event_type, verdict.reason, verdict.message)]


def test_a_stage_that_succeeded_comes_before_the_one_that_starts() -> None:
    after = status(FILTERING, succeeded_stage("generate", message="200 answers"))
    assert [notice.reason for notice in notices(status(GENERATING), after)] == ["GenerateSucceeded", "Filtering"]


def test_a_stage_of_two_words_is_one_word_of_an_event() -> None:
    assert [notice.reason for notice in notices(status(), status(None, succeeded_stage("train-preflight")))] == [
        "TrainPreflightSucceeded"
    ]


def test_a_stage_s_success_is_told_once() -> None:
    done = succeeded_stage("generate")
    assert notices(status(GENERATING, done), status(GENERATING, done)) == []


def test_a_failed_attempt_is_a_warning_with_its_cause() -> None:
    first = stage_status("train", StageState.RUNNING)
    second = stage_status("train", StageState.PENDING, attempt=2, message="Attempt 1 failed (PodKilled: …)")
    assert notices(status(GENERATING, first), status(GENERATING, second)) == [
        Notice("Warning", "AttemptFailed", "Attempt 1 failed (PodKilled: …)")
    ]


def test_a_disrupted_attempt_is_no_warning() -> None:
    first = stage_status("train", StageState.RUNNING, disrupted=(1,))
    second = stage_status("train", StageState.PENDING, attempt=2, disrupted=(1,), message="Attempt 1 failed (…)")
    assert notices(status(GENERATING, first), status(GENERATING, second)) == [
        Notice("Normal", "AttemptDisrupted", "Attempt 1 failed (…)")
    ]


def test_a_retry_is_no_warning() -> None:
    failed = stage_status("train", StageState.FAILED)
    second = stage_status("train", StageState.PENDING, attempt=2, message="Waiting for the Pods of Job …")
    assert notices(status(GENERATING, failed), status(GENERATING, second)) == [
        Notice("Normal", "StageRetried", "Waiting for the Pods of Job …")
    ]
