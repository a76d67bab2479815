"""The example, whole, in a namespace of its own, with each write to its objects counted."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.workspace import Workspace, open_workspace
from tests.harness.installation import Installation

KINDS = ("distilldataset", "finetunerun", "evalrun")
BASELINE = {"name": "guesses", "score": 1.0, "problems": 250}
FAULTS = {"wrong": 0.15, "truncated": 0.05, "too_many_requests": 0.02, "unavailable": 0.02}


@dataclass(frozen=True)
class Example:
    """The example's three objects, applied in reverse order."""

    workspace: Workspace
    versions: Path
    """Directory with a file for each kind: a line for each resourceVersion that its object ever had."""

    def wait(self) -> Workspace:
        """Wait until all three are Ready."""
        for kind in KINDS:
            self.workspace.wait_for(kind, seconds=3000)
        return self.workspace

    def writes(self, kind: str) -> int:
        """Count the writes to an object since it was made, spec or status."""
        return len(set((self.versions / kind).read_text().split())) - 1


@contextmanager
def open_example(installation: Installation) -> Iterator[Example]:
    """Apply the example with a teacher that makes mistakes; delete it at the end."""
    with ExitStack() as stack:
        versions = Path(stack.enter_context(TemporaryDirectory()))
        workspace = stack.enter_context(open_workspace(installation, "e2e-arithmetic"))
        workspace.teacher(**FAULTS)
        for kind in KINDS:
            stack.enter_context(workspace.watching(kind, "{.metadata.resourceVersion}", versions / kind))
        whole = {"source": {"prompts": {"limit": None}}, "teacher": {"shards": 2}}
        dataset = workspace.dataset(**whole, filter={"minAcceptanceRate": 0.7})
        training = {"training": {"maxSteps": None, "batchSize": 8}, "checkpoint": {"everySteps": 100}}
        benchmark = {"benchmark": {"limit": None}, "protocol": {"maxTokens": 96}}
        judged = {"compareWith": [BASELINE], "gate": {"minScore": 90, "maxTruncatedRate": 5}}
        workspace.apply(workspace.evaluation(**benchmark, **judged), workspace.finetune(**training), dataset)
        yield Example(workspace, versions)
