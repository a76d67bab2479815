"""What Kubernetes and the operator add: the stage Pods of a small pipeline beside the same five commands by hand.

Needs what `make demo` needs. The pipeline is the example's, cut down, so that what is added weighs more than the work.
What may be added is measured in the same run: what the same cluster takes for a Job that does nothing.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import mean

import by_hand
from bench import Row
from tests.e2e.workspace import Manifest, Workspace, open_workspace
from tests.harness.sharing import share_installation

EMPTY_JOBS = 3
READY_SECONDS = 300


def measure() -> Iterator[Row]:
    """Run the pipeline on the cluster, then by hand, and compare the sums of the stages' times."""
    with share_installation({}, _say) as installation, open_workspace(installation, "bench-overhead") as workspace:
        on_cluster = _on_cluster(workspace)
        empty = _empty_job(workspace)
        in_hand = _by_hand(workspace)
    longer = sum(on_cluster.values()) - sum(in_hand.values())
    for stage, seconds in on_cluster.items():
        yield Row(f"stage {stage}, elapsed", f"{seconds:.1f} s in its Pod", f"{in_hand[stage]:.1f} s by hand")
    yield Row(
        "five stages, elapsed",
        f"{sum(on_cluster.values()):.1f} s in Pods",
        f"{sum(in_hand.values()):.1f} s by hand",
        f"at most {len(on_cluster)} empty Jobs of {empty:.1f} s longer",
        longer <= len(on_cluster) * empty,
    )


def _on_cluster(workspace: Workspace) -> dict[str, float]:
    """Give the seconds of each stage, from its Job's creation to its completion."""
    workspace.teacher()
    workspace.apply(workspace.dataset(), workspace.finetune(), workspace.evaluation())
    workspace.wait_for("evalrun", seconds=READY_SECONDS)
    seconds = {}
    for job in workspace.jobs():
        seconds[job["metadata"]["labels"]["npu-distill.io/stage"]] = _elapsed(job)
    return seconds


def _elapsed(job: Manifest) -> float:
    start, end = (
        datetime.fromisoformat(text) for text in (job["metadata"]["creationTimestamp"], job["status"]["completionTime"])
    )
    return (end - start).total_seconds()


def _empty_job(workspace: Workspace) -> float:
    """Give the seconds that a Job with the Pod of a stage takes if its command does nothing, the mean of some."""
    (stage,) = workspace.jobs("filter")
    pod = stage["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    kept = ("name", "image", "imagePullPolicy", "resources", "securityContext", "volumeMounts")
    pod["containers"] = [{field: container[field] for field in kept if field in container} | {"command": ["true"]}]
    seconds = []
    for number in range(EMPTY_JOBS):
        metadata = {"name": f"empty-{number}", "namespace": workspace.namespace}
        template = {"backoffLimit": 0, "template": {"spec": pod}}
        workspace.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template})
        workspace.wait_for("job", metadata["name"], "Complete")
        seconds.append(_elapsed(workspace.get("job", metadata["name"])))
    return mean(seconds)


def _by_hand(workspace: Workspace) -> dict[str, float]:
    """Give the seconds of each command, run with the same parameters on this machine."""
    dataset, finetune, evaluation = (
        manifest["spec"] for manifest in (workspace.dataset(), workspace.finetune(), workspace.evaluation())
    )
    seconds: dict[str, float] = {}

    def timed(stage: str, run: Callable[[], by_hand.ArtifactReference]) -> by_hand.ArtifactReference:
        start = time.monotonic()
        artifact = run()
        seconds[stage] = time.monotonic() - start
        return artifact

    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder)
        by_hand.write_inputs(volume)
        with by_hand.teacher() as endpoint:
            timed("generate", lambda: by_hand.run(by_hand.generate_contract(dataset, endpoint), volume))
        kept = timed("filter", lambda: by_hand.run(by_hand.filter_contract(dataset), volume))
        packed = timed("pack", lambda: by_hand.run(by_hand.pack_contract(dataset, kept), volume))
        weights = timed("train", lambda: by_hand.run(by_hand.train_contract(finetune, packed), volume))
        timed("eval", lambda: by_hand.evaluate(evaluation, weights, volume))
    return seconds


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
