"""What has failed is tried again when its spec says so, and by nothing else."""

import re
import shlex

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import condition


def test_the_command_in_the_message_has_a_stage_tried_again_and_removing_its_job_has_not(workspace: Workspace) -> None:
    workspace.teacher()
    dataset = workspace.dataset(source={"prompts": {"uri": "later.jsonl"}})
    workspace.apply(dataset)
    failed = workspace.wait_for("distilldataset", type_="Stalled")
    workspace.kubectl("delete", "jobs", "--all", "-n", workspace.namespace)
    prompts = workspace.dataset()["spec"]["source"]["prompts"]["uri"]
    workspace.on_volume("cp", f"/data/{prompts}", "/data/later.jsonl")
    command = re.search(r"`kubectl (patch [^`]+)`", condition(failed, "Ready")["message"])
    assert command is not None
    workspace.kubectl(*shlex.split(command[1]))
    workspace.wait_for("distilldataset")
    assert workspace.stage("distilldataset", "generate")["attempt"] == 2
