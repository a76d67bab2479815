"""What several Pods say, put together."""

from typing import Any

import pytest
from unit.operator.builders import failed_pod, job, progress, result, running_pod, succeeded_pod

from distill_operator.observation import PodView
from distill_operator.plan.merging import merge_progress, merge_results
from distill_operator.plan.stages import Teamwork
from distill_runtime.contract import InputFingerprint, Progress, Result

JOB = job()
SHARDS, TOGETHER = Teamwork.SHARDS, Teamwork.TOGETHER


class TestResults:
    def test_counts_of_shards_add_up(self) -> None:
        pods = [
            succeeded_pod(JOB, 0, result({"prompts": 5, "failed.timeout": 1})),
            succeeded_pod(JOB, 1, result({"prompts": 4})),
        ]
        merged = merge_results(pods, 2, SHARDS)
        assert merged is not None
        assert merged.counts == {"prompts": 9, "failed.timeout": 1}
        assert merged.message == "All 2 shards are complete."

    def test_inputs_of_shards_are_told_once_each(self) -> None:
        prompts, endpoints = (
            InputFingerprint(name="prompts", uri="prompts.jsonl", value="sha256:1"),
            [InputFingerprint(name="endpoint", uri=f"http://{host}/v1", value="teacher") for host in "ab"],
        )
        said = [result({}).model_copy(update={"inputs": (prompts, endpoint)}) for endpoint in endpoints]
        merged = merge_results([succeeded_pod(JOB, index, one) for index, one in enumerate(said)], 2, SHARDS)
        assert merged is not None
        assert merged.inputs == (prompts, *endpoints)

    def test_a_single_pod_speaks_for_itself(self) -> None:
        said = result({"prompts": 5}, metrics={"meanTokens": 7.5})
        assert merge_results([succeeded_pod(JOB, 0, said)], 1, SHARDS) == said

    @pytest.mark.parametrize("teamwork", list(Teamwork))
    def test_nothing_is_made_up_for_a_pod_that_is_gone(self, teamwork: Teamwork) -> None:
        assert merge_results([succeeded_pod(JOB, 1)], 2, teamwork) is None

    def test_the_first_of_pods_that_work_together_speaks_for_all(self) -> None:
        said = result({"steps": 100})
        assert merge_results([succeeded_pod(JOB, 1), succeeded_pod(JOB, 0, said)], 2, TOGETHER) == said

    def test_a_pod_that_failed_before_its_replacement_succeeded_does_not_count(self) -> None:
        failed = failed_pod(JOB, said=Result(outcome="Failed", reason="X", message="", counts={"prompts": 3}))
        said = result({"prompts": 5})
        assert merge_results([succeeded_pod(JOB, 0, said), failed], 1, SHARDS) == said


class TestProgress:
    def merge(self, *known: tuple[PodView, Progress | None], expected: int = 2, teamwork: Teamwork = SHARDS) -> Any:
        said = {pod.name: one for pod, one in known if one is not None}
        return merge_progress([pod for pod, _ in known], said, expected, teamwork)

    def test_is_unknown_while_no_pod_has_answered(self) -> None:
        assert self.merge((running_pod(JOB), None)) is None

    def test_of_shards_adds_up(self) -> None:
        merged = self.merge(
            (running_pod(JOB, 0), progress(5, 10, rate=1.0, eta_seconds=5, counts={"answered": 5})),
            (running_pod(JOB, 1), progress(2, 10, rate=0.5, eta_seconds=16, counts={"answered": 1, "failed": 1})),
        )
        assert (merged.done, merged.total, merged.rate, merged.eta_seconds) == (7, 20, 1.5, 16)
        assert merged.counts == {"answered": 6, "failed": 1}

    def test_of_shards_adds_up_their_speed_too(self) -> None:
        merged = self.merge(
            (running_pod(JOB, 0), progress(5, metrics={"tokensPerSecond": 10.0, "other": 1.0})),
            (running_pod(JOB, 1), progress(2, metrics={"tokensPerSecond": 5.5, "other": 2.0})),
        )
        assert merged.metrics == {"tokensPerSecond": 15.5, "other": 1.0}

    def test_a_shard_that_has_ended_keeps_counting(self) -> None:
        merged = self.merge(
            (succeeded_pod(JOB, 0, result({"generations": 10, "answered": 10})), None),
            (running_pod(JOB, 1), progress(2, 10, counts={"answered": 2})),
        )
        assert (merged.done, merged.total) == (12, 20)
        assert merged.counts["answered"] == 12

    def test_there_is_no_total_while_a_shard_has_not_answered(self) -> None:
        merged = self.merge(
            (running_pod(JOB, 0), progress(5, 10, eta_seconds=5)), (running_pod(JOB, 1), None), expected=2
        )
        assert (merged.done, merged.total, merged.eta_seconds) == (5, None, None)

    def test_there_is_no_total_while_a_shard_does_not_know_its_own(self) -> None:
        merged = self.merge((running_pod(JOB, 0), progress(5, 10)), (running_pod(JOB, 1), progress(1)))
        assert (merged.done, merged.total) == (6, None)

    def test_the_first_of_pods_that_work_together_speaks_for_all(self) -> None:
        first = progress(7, 10)
        merged = self.merge((running_pod(JOB, 1), progress(6, 10)), (running_pod(JOB, 0), first), teamwork=TOGETHER)
        assert merged == first
