"""A teacher that is away ends the shards that ask it; what counts is how often each has been ended."""

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import condition, eventually

SHARDS = 8
"""More than the failures that one Pod's place is allowed."""


def _failed_shards(workspace: Workspace) -> int:
    failed = [pod for pod in workspace.pods("generate") if pod["status"].get("phase") == "Failed"]
    return len({pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for pod in failed})


def test_an_outage_that_ends_all_shards_at_once_is_one_failure_of_each(workspace: Workspace) -> None:
    asking = {"shards": SHARDS, "maxConcurrentRequests": SHARDS, "unavailableTimeoutSeconds": 1}
    workspace.apply(workspace.dataset(teacher=asking))
    eventually(lambda: _failed_shards(workspace) == SHARDS, "every shard has failed")
    assert condition(workspace.get("distilldataset"), "Stalled")["status"] == "False"
    workspace.teacher()
    workspace.wait_for("distilldataset")
    assert len(workspace.jobs("generate")) == 1
