"""The recipe OpenR1-Qwen-7B in one apply: the example's own three objects on CPUs, with a tiny Qwen2.5, down to a score
by a server that nobody here wrote."""

import json
from pathlib import Path

import pytest
import yaml
from support import openr1

from tests.e2e.recipe import CHANGES, EXAMPLE, FILES, leaves, recipe_on_cpus
from tests.e2e.workspace import open_workspace
from tests.harness.installation import Installation

RUN, DATASET = "openr1-qwen-7b", "openr1-math"
SAMPLES = 4 * openr1.PROBLEMS


@pytest.mark.parametrize("file", FILES)
def test_nothing_differs_from_the_example_but_what_is_said_to(file: str) -> None:
    example = yaml.safe_load((EXAMPLE / file).read_text())
    (ours,) = (each for each in recipe_on_cpus("ns") if each["kind"] == example["kind"])
    before, after = dict(leaves(example)), dict(leaves(ours))
    differing = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    said = [path for path, _ in leaves(CHANGES[file])]
    for path in said:
        assert any(f"{each}.".startswith(f"{path}.") for each in differing), f"{path} changes nothing"
    assert {path for path in differing if not any(f"{path}.".startswith(f"{each}.") for each in said)} == {
        "metadata.namespace"
    }


def test_one_apply_leads_from_rows_to_a_score(installation: Installation, tmp_path: Path) -> None:
    openr1.write_inputs(tmp_path)
    with open_workspace(installation, "e2e-recipe") as workspace:
        workspace.upload(tmp_path)
        workspace.apply(*recipe_on_cpus(workspace.namespace))
        workspace.wait_for("evalrun", RUN)

        data = workspace.status("distilldataset", DATASET)
        assert (data["prompts"], data["generations"]) == (openr1.ROWS, 2 * openr1.ROWS)
        assert (data["kept"], data["rejected"]) == (openr1.ROWS, openr1.REJECTED)
        packed = workspace.stage("distilldataset", "pack", DATASET)["counts"]
        assert packed["rejected.tooLong"] == openr1.TOO_LONG
        assert packed["samples"] == openr1.ROWS - openr1.TOO_LONG

        run = workspace.status("finetunerun", RUN)
        assert run["step"] == run["totalSteps"] == 3 * packed["sequences"]
        model = run["artifact"]["uri"]
        assert json.loads(workspace.read(f"{model}/config.json"))["rope_theta"] == 300000.0

        score = workspace.status("evalrun", RUN)
        assert (score["problems"], score["samples"], score["unansweredRate"]) == (openr1.PROBLEMS, SAMPLES, 0)
        evaluated = workspace.stage("evalrun", "eval", RUN)
        answers = workspace.rows(f"{evaluated['artifact']['uri']}/answers.jsonl")
        assert len({answer["key"] for answer in answers}) == len(answers) == SAMPLES
        assert {answer["finish_reason"] for answer in answers} <= {"stop", "length"}
        assert {item["uri"] for item in evaluated["inputs"]} >= {"mlx-lm", model}
        assert {item["method"] for item in score["comparison"]} == {"unpaired"}
        assert [item["name"] for item in score["comparison"]] == [
            each["name"] for each in yaml.safe_load((EXAMPLE / "eval.yaml").read_text())["spec"]["compareWith"]
        ]
