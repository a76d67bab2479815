"""Defaults, all of them in one file: a change of one must be seen, since objects and artifacts outlive it.

What to do when one has to change is in docs/architecture.md, "Defaults".
"""

import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from distill_operator.api import KINDS
from distill_operator.api.crds import custom_resource_definition
from distill_runtime.contract import (
    EvalContract,
    FilterContract,
    GenerateContract,
    PackContract,
    SelectContract,
    TrainContract,
)
from distill_runtime.contract.identity import OPERATIONAL, first_default

GOLDEN = Path(__file__).parent / "golden" / "defaults.txt"
CONTRACTS = (GenerateContract, FilterContract, SelectContract, PackContract, TrainContract, EvalContract)


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def left_out_of_identities(model: type[BaseModel], path: str) -> Iterator[str]:
    """Name every field that an artifact depends on, with the value at which it is left out of its hash."""
    for name, field in model.model_fields.items():
        if OPERATIONAL in field.metadata:
            continue
        if not field.is_required():
            yield f"{path}.{field.alias or name} = {json.dumps(first_default(field))}"
        for inner in models_in(field.annotation):
            yield from left_out_of_identities(inner, f"{path}.{field.alias or name}<{inner.__name__}>")


def filled_in_by_the_api_server(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        if "default" in field:
            yield f"{path}.{name} = {json.dumps(field['default'])}"
        yield from filled_in_by_the_api_server(field, f"{path}.{name}")
        yield from filled_in_by_the_api_server(field.get("items", {}), f"{path}.{name}[]")


def test_defaults_are_those_in_the_golden_file(equals_golden_text: Callable[[Path, str], None]) -> None:
    lines = ["# Left out of an artifact's hash: fields with these values.", ""]
    for contract in CONTRACTS:
        lines += left_out_of_identities(contract, contract.__name__)
    lines += ["", "# Filled in by the API server: fields that an object leaves out.", ""]
    for name, kind in KINDS.items():
        root = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        lines += filled_in_by_the_api_server(root["properties"]["spec"], f"{name}.spec")
    equals_golden_text(GOLDEN, "\n".join(lines) + "\n")
