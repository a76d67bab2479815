"""The recipe OpenR1-Qwen-7B: every key of its YAMLs is equal in ours, or in the table with both values and a reason."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.architectures import QWEN_2_5_7B
from unit.operator.builders import CHART_VALUES, SETTINGS, as_found, ready

from distill_operator.api import KINDS, FinetuneRun
from distill_operator.plan.finetune import dependencies, plan_stage
from distill_operator.plan.stages import Stage
from distill_operator.settings import Profile
from distill_runtime.contract import Model, Recompute, TrainContract
from distill_runtime.training.attempt import to_yaml
from distill_runtime.training.configuration import InitialState, TrainingData, build_configuration
from distill_runtime.training.divisions import check_divisions
from distill_runtime.training.inputs import TrainingInputs
from distill_runtime.training.memory.check import check_memory
from distill_runtime.training.memory.plan import GIB
from distill_runtime.training.schedule import plan_schedule

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "openr1-qwen-7b"
PAGE = (ROOT / "docs" / "openr1-qwen-7b.md").read_text()
RECIPE: Mapping[str, Mapping[str, Any]] = yaml.safe_load((Path(__file__).parent / "openr1_qwen_7b.yaml").read_text())
FORMS = {"A": "form-a", "B": "form-b"}
MANIFESTS = {"A": EXAMPLE / "form-a" / "finetune.yaml", "B": EXAMPLE / "finetune.yaml"}

ARCHITECTURE = QWEN_2_5_7B.model_copy(update={"rope_theta": 300000.0})
"""Of the config.json that the example's README asks for."""
SEQUENCES = 10_000
DATA = TrainingData(Path("/data/packed/sequences"), 32768)
NOTHING_AGAIN = "the same, were nothing computed again"
ABSENT, ANY = "–", "…"
ROW = re.compile(r"^\| `([^`]+)` \| ((?:A|B)(?:, B)?) \| (.*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A row of the page: cells between the forms and the reason."""

    key: str
    forms: tuple[str, ...]
    values: tuple[str, ...]

    def covers(self, key: str) -> bool:
        """Tell whether it is about `key`, as one of a section perhaps."""
        return key == self.key or (self.key.endswith(".*") and key.startswith(self.key[:-1]))


def rows(heading: str) -> list[Row]:
    """Read a table of the page, of which every row must have a reason."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = []
    for key, forms, cells in ROW.findall(section):
        *values, reason = cells.split(" | ")
        assert reason.strip(), key
        found.append(Row(key, tuple(forms.split(", ")), tuple(values)))
    assert len(found) == section.count("\n| `"), "a row is not in the form of the others"
    return found


def says(cell: str, values: Mapping[str, Any], key: str) -> bool:
    """Tell whether a cell is about the value that `key` has."""
    if cell in (ABSENT, ANY):
        return (key in values) is (cell == ANY)
    return key in values and yaml.safe_load(cell.strip("`")) == values[key]


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give every key that is not a section itself; `train_dataset_task.dataset_config` repeats another section."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and path != "train_dataset_task.dataset_config":
            yield from leaves(value, f"{path}.")
        elif path != "train_dataset_task.dataset_config":
            yield path, value


@cache
def contract_of(form: str) -> TrainContract:
    """Give the contract that the operator makes of the form's manifest with the chart's profile."""
    run = as_found(yaml.safe_load(MANIFESTS[form].read_text()))
    assert isinstance(run, FinetuneRun)
    dataset = ready("DistillDataset", metadata={"name": run.spec.dataset_ref.name})
    profile = Profile.model_validate(CHART_VALUES["profiles"]["ascend-910b"])
    (key,) = dependencies(run)
    planned = plan_stage(
        run, "train", {}, {key: dataset}, SETTINGS.model_copy(update={"profiles": {"ascend-910b": profile}})
    )
    assert isinstance(planned, Stage)
    assert isinstance(planned.contract, TrainContract)
    return planned.contract


@cache
def written(form: str) -> dict[str, Any]:
    """Give the YAML that the runtime makes of that."""
    contract = contract_of(form)
    start = InitialState(path=Path("/data") / contract.model.uri, reshard=True)
    output = Path("/data/trained.partial/mindformers")
    schedule = plan_schedule(contract, SEQUENCES)
    return build_configuration(contract, ARCHITECTURE, schedule, DATA, start, output, cpus=1)


@pytest.mark.parametrize("path", sorted(EXAMPLE.rglob("*.yaml")), ids=lambda path: path.stem)
def test_manifests_are_valid(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    spec_model = KINDS[document["kind"]].model_fields["spec"].annotation
    assert isinstance(spec_model, type)
    assert issubclass(spec_model, Model)
    spec_model.model_validate(document["spec"])


@pytest.mark.parametrize("form", FORMS)
def test_a_form_trains_on_the_dataset_beside_it(form: str) -> None:
    dataset = yaml.safe_load((EXAMPLE / "dataset.yaml").read_text())
    run = yaml.safe_load(MANIFESTS[form].read_text())
    assert run["spec"]["datasetRef"]["name"] == dataset["metadata"]["name"]
    assert run["spec"]["storage"] == dataset["spec"]["storage"]
    assert run["spec"]["model"]["uri"] == dataset["spec"]["pack"]["tokenizer"]["uri"]
    assert dataset["spec"]["pack"]["sequenceLength"] == DATA.sequence_length


@pytest.mark.parametrize("form", FORMS)
def test_the_yaml_of_a_form(form: str, equals_golden_text: Callable[[Path, str], None]) -> None:
    equals_golden_text(Path(__file__).parent / "golden" / f"{FORMS[form]}.yaml", to_yaml(written(form)))


@pytest.mark.parametrize("form", FORMS)
def test_every_key_of_the_recipe_is_equal_or_in_the_table(form: str) -> None:
    recipe, ours = RECIPE[FORMS[form]]["settings"], dict(leaves(written(form)))
    table = [row for row in rows("Every key that differs") if form in row.forms]
    used = set()
    for key, value in recipe.items():
        explaining = [row for row in table if row.covers(key)]
        if key in ours and ours[key] == value:
            assert not explaining, f"{key} is equal in form {form}, and yet in the table"
            continue
        assert len(explaining) == 1, f"{key} differs in form {form}, and has {len(explaining)} rows in the table"
        theirs, here = explaining[0].values
        assert says(theirs, recipe, key), f"{key} of form {form} is {value!r} in the recipe"
        assert says(here, ours, key), f"{key} of form {form} is {ours.get(key)!r} here"
        used.add(explaining[0])
    assert used == set(table)


@pytest.mark.parametrize("form", FORMS)
def test_every_other_key_is_in_the_second_table(form: str) -> None:
    recipe, ours = RECIPE[FORMS[form]]["settings"], dict(leaves(written(form)))
    table = {row.key: row.values[0] for row in rows("Keys that the recipe does not set") if form in row.forms}
    assert set(table) == set(ours) - set(recipe)
    assert [key for key, cell in table.items() if not says(cell, ours, key)] == []


@pytest.mark.parametrize("form", FORMS)
def test_a_form_passes_the_preflight_and_the_page_has_its_memory(form: str) -> None:
    contract = contract_of(form)
    check_divisions(contract, ARCHITECTURE, DATA.sequence_length)
    schedule = plan_schedule(contract, SEQUENCES)
    inputs = TrainingInputs(Path("/data"), ARCHITECTURE, DATA, schedule, SEQUENCES, labelled_tokens=1, end_token=None)
    training = contract.training.model_copy(update={"recompute": Recompute(layers="none")})
    unchecked = contract.model_copy(update={"training": training, "device_memory": None})
    for row, asked in (("Estimate of a device's memory, of 64 GiB", contract), (NOTHING_AGAIN, unchecked)):
        estimate = check_memory(asked, inputs)
        assert estimate is not None
        (line,) = re.findall(rf"^\| {row} \| (.*) \|$", PAGE, re.MULTILINE)
        assert line.split(" | ")[list(FORMS).index(form)] == f"{estimate.total / GIB:.1f} GiB"
