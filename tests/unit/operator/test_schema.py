"""Pydantic's JSON schema becomes a structural schema, the form that the API server takes."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, JsonValue

from distill_operator.api import KINDS
from distill_operator.api.crds import custom_resource_definition
from distill_operator.api.schema import structural_schema

NOT_STRUCTURAL = {"$ref", "$defs", "anyOf", "allOf", "oneOf", "const", "title", "prefixItems", "exclusiveMinimum"}


class Inner(BaseModel):
    depth: int = Field(default=3, description="How deep.")


class Outer(BaseModel):
    optional: str | None = Field(default=None, description="x")
    optional_inner: Inner | None = Field(default=None, description="the field's own words")
    inner: Inner = Field(default=Inner(), description="x")
    word: Literal["only"] = Field(default="only", description="x")
    choice: Literal["a", "b"] = Field(description="x")
    above_zero: float = Field(gt=0, lt=1, description="x")
    pair: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = Field(description="x")
    anything: dict[str, JsonValue] = Field(default_factory=dict, description="x")
    numbers: dict[str, int] = Field(default_factory=dict, description="x")
    several: list[Inner] = Field(default_factory=list, description="x")


PROPERTIES = structural_schema(Outer)["properties"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("optional", {"type": "string", "description": "x"}),
        (
            "optional_inner",
            {
                "type": "object",
                "description": "the field's own words",
                "properties": {
                    "depth": {"type": "integer", "format": "int64", "default": 3, "description": "How deep."}
                },
            },
        ),
        ("word", {"type": "string", "enum": ["only"], "default": "only", "description": "x"}),
        ("choice", {"type": "string", "enum": ["a", "b"], "description": "x"}),
        (
            "pair",
            {
                "type": "array",
                "items": {"type": "number", "minimum": 0},
                "minItems": 2,
                "maxItems": 2,
                "description": "x",
            },
        ),
        ("numbers", {"type": "object", "additionalProperties": {"type": "integer", "format": "int64"}}),
        ("anything", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ],
)
def test_rewrites_a_field(field: str, expected: dict[str, Any]) -> None:
    assert expected.items() <= PROPERTIES[field].items()


def test_exclusive_bounds_are_booleans_beside_the_bound() -> None:
    bounds = {name: PROPERTIES["above_zero"][name] for name in ("minimum", "maximum")}
    flags = {name: PROPERTIES["above_zero"][name] for name in ("exclusiveMinimum", "exclusiveMaximum")}
    assert bounds == {"minimum": 0, "maximum": 1}
    assert flags == {"exclusiveMinimum": True, "exclusiveMaximum": True}


def test_inlines_models_in_lists() -> None:
    assert PROPERTIES["several"]["items"]["properties"]["depth"]["type"] == "integer"


def test_the_default_of_a_block_is_complete_so_that_rules_can_read_its_fields() -> None:
    assert PROPERTIES["inner"]["default"] == {"depth": 3}


def test_only_fields_without_default_are_required() -> None:
    assert set(structural_schema(Outer)["required"]) == {"choice", "above_zero", "pair"}


def test_refuses_a_union() -> None:
    class Mixed(BaseModel):
        value: int | str

    with pytest.raises(ValueError, match=r"Mixed\.value: a structural schema has no union types"):
        structural_schema(Mixed)


def root_schema(kind: str) -> dict[str, Any]:
    root: dict[str, Any] = custom_resource_definition(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node below `schema`, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from nodes(f"{path}[]", schema[keyword])


def fields(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    root = root_schema(kind)
    for part in ("spec", "status"):
        yield from ((path, node) for path, node in nodes(part, root["properties"][part]) if not path.endswith("[]"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    assert [path for path, node in fields(kind) if not node.get("description")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_filled_into_a_status_but_that_nobody_has_seen_the_object(kind: str) -> None:
    """`kubectl describe` would show it, empty."""
    status = root_schema(kind)["properties"]["status"]
    assert [path for path, node in nodes("status", status) if "default" in node] == ["status"]
    assert status["default"] == {"observedGeneration": -1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_is_structural(kind: str) -> None:
    allowed_exclusive = {"exclusiveMinimum", "exclusiveMaximum"}
    for path, node in nodes("", root_schema(kind)):
        forbidden = (NOT_STRUCTURAL - allowed_exclusive) & node.keys()
        assert not forbidden, path
        assert all(node[name] is True for name in allowed_exclusive & node.keys()), path
        assert "default" not in node or node["default"] is not None, path
        assert not ("properties" in node and "additionalProperties" in node), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_has_a_type(kind: str) -> None:
    untyped = [
        path
        for path, node in nodes("", root_schema(kind))
        if not node.keys() & {"type", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"}
    ]
    assert untyped == []


@pytest.mark.parametrize("kind", KINDS)
def test_field_paths_of_rules_exist(kind: str) -> None:
    for path, node in nodes("", root_schema(kind)):
        for rule in node.get("x-kubernetes-validations", []):
            field = rule.get("fieldPath", "").removeprefix(".")
            assert not field or field in node["properties"], f"{path}: {rule['rule']}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_the_operator_has_not_seen_is_of_no_generation(kind: str) -> None:
    """What kstatus calls InProgress; an object without any status would be Current."""
    assert root_schema(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("math", True),
        ("m", True),
        ("openr1-qwen2-5-7b", True),
        ("openr1-qwen2.5-7b", False),
        ("7b", False),
        ("-math", False),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_that_a_service_and_a_host_can_have(kind: str, name: str, allowed: bool) -> None:
    """`<name>-<stage>-a<attempt>` must be a DNS-1035 label, and followed by `-<index>` a DNS-1123 label."""
    rules = [rule["rule"] for rule in root_schema(kind)["x-kubernetes-validations"]]
    (pattern,) = [found[1] for rule in rules if (found := re.search(r"self\.metadata\.name\.matches\('(.*)'\)", rule))]
    assert bool(re.search(pattern, name)) is allowed


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_immutable(kind: str) -> None:
    """All of a spec but what may change at any time."""
    spec = root_schema(kind)["properties"]["spec"]
    immutable = {
        rule["fieldPath"].removeprefix(".")
        for rule in spec["x-kubernetes-validations"]
        if "oldSelf" in rule["rule"] and "is immutable" in rule["message"]
    }
    may_change = {"suspend", "priorityClassName", "podTemplate", "retry", "restarts"}
    assert immutable == spec["properties"].keys() - may_change
