"""What the documentation shows is true: links lead somewhere, examples are valid, every reason is explained."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill_operator.api import KINDS
from distill_operator.metrics import Metrics
from distill_operator.plan.obstacles import HINDRANCES
from distill_operator.settings import Profile, Server
from distill_runtime.contract import Model

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")])

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
YAML_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z][a-z0-9-]+)")
TARGET = re.compile(r"^([a-z][a-z0-9-]*):.*## ", re.MULTILINE)
METRIC = re.compile(r"\bnpu_distill_(?!stage_)[a-z_]+")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# Where a reason is born: the callable that takes it first, or the argument that it is given by.
REASON_FIRST = {"WrongInput", "Retryable", "Invalid", "Waiting", "Failure", "Obstacle"}
REASON_ARGUMENTS = {"reason", "done_reason"}


def anchors(page: Path) -> set[str]:
    """Headings as GitHub turns them into anchors."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page.read_text())}


def links() -> Iterator[tuple[Path, str, str]]:
    for page in PAGES:
        for target, anchor in LINK.findall(page.read_text()):
            yield page, target, anchor


def examples() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(YAML_BLOCK.findall(page.read_text()), start=1):
            for document in yaml.safe_load_all(block):
                if isinstance(document, dict) and document.get("kind") in KINDS:
                    yield pytest.param(document, id=f"{page.name}-{number}")


def reasons() -> Iterator[str]:
    """Every literal reason in the source of the two packages."""
    packages = chain((ROOT / "operator").rglob("*.py"), (ROOT / "job_runtime").rglob("*.py"))
    for node in chain.from_iterable(ast.walk(ast.parse(path.read_text())) for path in packages):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        candidates = [node.args[0]] if name in REASON_FIRST and node.args else []
        candidates += [keyword.value for keyword in node.keywords if keyword.arg in REASON_ARGUMENTS]
        for value in candidates:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value[:1].isupper():
                yield value.value


@pytest.mark.parametrize(("page", "target", "anchor"), list(links()), ids=lambda value: getattr(value, "name", value))
def test_links_lead_somewhere(page: Path, target: str, anchor: str) -> None:
    file = (page.parent / target).resolve() if target else page
    assert file.exists(), f"{page.name} links to {target}, which does not exist"
    if anchor:
        assert anchor in anchors(file), f"{page.name} links to #{anchor} of {file.name}, which has no such heading"


@pytest.mark.parametrize("document", list(examples()))
def test_examples_are_valid(document: dict[str, Any]) -> None:
    spec_model = KINDS[document["kind"]].model_fields["spec"].annotation
    assert isinstance(spec_model, type)
    assert issubclass(spec_model, Model)
    spec_model.model_validate(document["spec"])


def test_every_kind_has_an_example() -> None:
    assert {example.values[0]["kind"] for example in examples()} == set(KINDS)


@pytest.mark.parametrize("reason", sorted({*reasons(), *HINDRANCES}))
def test_every_reason_is_explained(reason: str) -> None:
    explained = "\n".join(page.read_text() for page in PAGES)
    assert f"`{reason}`" in explained, f"no page explains the condition reason {reason}"


def commands(text: str) -> set[str]:
    """Targets of `make` in code, where the word is no English verb."""
    code = re.findall(r"^```sh\n(.*?)^```|`([^`\n]+)`", text, re.DOTALL | re.MULTILINE)
    return {target for block in code for part in block for target in MAKE.findall(part)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    assert commands(page.read_text()) <= set(TARGET.findall((ROOT / "Makefile").read_text()))


def exposed_metrics() -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", Metrics().expose().decode(), re.MULTILINE))


def test_metrics_are_the_documented_ones() -> None:
    documented = set(METRIC.findall((ROOT / "docs" / "operating.md").read_text()))
    assert documented == exposed_metrics()


def test_alerts_ask_for_metrics_that_exist() -> None:
    rules = (ROOT / "helm" / "npu-distill" / "templates" / "prometheusrule.yaml").read_text()
    asked = set(METRIC.findall(rules))
    assert asked
    assert asked <= exposed_metrics()


def profiles() -> Iterator[dict[str, Any]]:
    """Profiles of the chart as the pages change them, by Helm's way of merging."""
    shipped = yaml.safe_load((ROOT / "helm/npu-distill/values.yaml").read_text())["profiles"]
    for page in PAGES:
        for block in YAML_BLOCK.findall(page.read_text()):
            for document in yaml.safe_load_all(block):
                if isinstance(document, dict) and "profiles" in document:
                    for name, fields in document["profiles"].items():
                        own = {**fields, "env": {**shipped.get(name, {}).get("env", {}), **fields.get("env", {})}}
                        yield {**shipped.get(name, {}), **own}


def test_profiles_are_ones_that_the_operator_reads() -> None:
    found = [Profile.model_validate(profile) for profile in profiles()]
    assert any(profile.volumes for profile in found)
    assert any(profile.host_network for profile in found)


def test_servers_are_ones_that_the_operator_reads() -> None:
    blocks = re.findall(
        r"^```yaml\n(servers:\n.*?)^```", (ROOT / "docs/operating.md").read_text(), re.DOTALL | re.MULTILINE
    )
    servers = [server for block in blocks for server in yaml.safe_load(block)["servers"].values()]
    assert [Server.model_validate(server).image for server in servers] == ["registry.example.com/mlx-lm:0.32.2"]


def test_the_supported_versions_are_the_locked_ones() -> None:
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    page = (ROOT / "docs" / "support.md").read_text()
    for name, distribution in (("MindFormers", "mindformers"), ("MindSpore", "mindspore")):
        (version,) = (line.partition("==")[2] for line in locked if line.startswith(f"{distribution}=="))
        assert re.search(rf"^\| {name} \| {re.escape(version)}\b", page, re.MULTILINE)
