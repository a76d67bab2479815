"""Data that somebody has made before: rows with their generations, and packed sequences."""

import json

from tests.e2e.workspace import Workspace
from tests.harness.kubectl import condition

ROWS = 200
SELECTED = 150
NO_TEACHER = {"teacher": None}

# Of every problem a right, a wrong and a truncated generation, in the shape of OpenR1-Math-220k.
WRITE_ROWS = f"""
import json
with open("/data/arithmetic/prompts.jsonl") as prompts, open("/data/rows.jsonl", "w") as rows:
    for _, line in zip(range({ROWS}), prompts):
        row = json.loads(line)
        said = ["<think>\\nIt is easy.\\n</think>\\n\\n\\\\boxed{{" + answer + "}}" for answer in (row["answer"], "1")]
        row["generations"] = [*said, "<think>\\nFor ever and"]
        row["is_reasoning_complete"] = [True, True, False]
        row["correctness_math_verify"] = [True, False, False]
        rows.write(json.dumps(row) + "\\n")
"""


def test_rows_and_packed_sequences_go_in_where_they_belong(workspace: Workspace) -> None:
    workspace.on_volume("python", "-c", WRITE_ROWS)
    workspace.apply(
        workspace.dataset("computed", source={"prompts": None, "rows": {"uri": "rows.jsonl"}}, **NO_TEACHER),
        workspace.dataset(
            "trusted",
            source={"prompts": None, "rows": {"uri": "rows.jsonl"}},
            filter={"verifier": "recorded"},
            select={"minPassRate": 0.3, "maxPassRate": 0.4, "limit": SELECTED},
            **NO_TEACHER,
        ),
    )
    left_out = {"beyondLimit": ROWS - SELECTED}
    for name, selecting, kept, more in (("computed", [], ROWS, {}), ("trusted", ["select"], SELECTED, left_out)):
        workspace.wait_for("distilldataset", name)
        status = workspace.status("distilldataset", name)
        assert [stage["name"] for stage in status["stages"]] == ["filter", *selecting, "pack"]
        assert (status["prompts"], status["generations"], status["kept"]) == (ROWS, 3 * ROWS, kept)
        assert status["rejected"] == {"incorrect": ROWS, "truncated": ROWS, **more}

    packed = workspace.status("distilldataset", "computed")
    source = {"prompts": None, "packed": {"uri": f"{packed['artifact']['uri']}/sequences"}}
    source["packed"]["tokenizer"] = {"uri": "arithmetic/student"}
    registered = workspace.dataset("registered", source=source, filter=None, pack=None, **NO_TEACHER)
    workspace.apply(workspace.finetune(dataset="registered"), registered)
    workspace.wait_for("finetunerun")
    status = workspace.status("distilldataset", "registered")
    assert [stage["name"] for stage in status["stages"]] == ["pack"]
    assert (status["rows"], status["tokens"]) == (packed["rows"], packed["tokens"])
    assert {job["metadata"]["labels"]["npu-distill.io/stage"] for job in workspace.jobs()} == {
        "filter",
        "select",
        "pack",
        "train",
    }


def test_what_is_no_packed_data_is_said_within_seconds(workspace: Workspace) -> None:
    line = json.dumps({"input_ids": [1, 2], "labels": [2, -100], "actual_seq_len": [2]})
    workspace.on_volume("sh", "-c", f"echo '{line}' > /data/packed.jsonl")
    manifest = workspace.dataset(
        source={"prompts": None, "packed": {"uri": "packed.jsonl"}}, filter=None, pack=None, **NO_TEACHER
    )
    workspace.apply(manifest)
    stalled = condition(workspace.wait_for("distilldataset", type_="Stalled", seconds=90), "Stalled")
    assert stalled["reason"] == "UnknownFormat"
    assert "packed data is in arrow or parquet files" in stalled["message"]
