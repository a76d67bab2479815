"""The CustomResourceDefinitions of the three kinds."""

from typing import Any

from pydantic import BaseModel

from distill_operator.api.common import GROUP, NAME_LIMIT, VERSION, AnyResource
from distill_operator.api.rules import Rule
from distill_operator.api.schema import structural_schema

CATEGORY = "distill"

# What makes a host name of every Pod, and a Service of every Job, on top of what the API server asks of any name.
_NAME_RULES = (
    Rule(
        f"size(self.metadata.name) <= {NAME_LIMIT}",
        f"metadata.name must have at most {NAME_LIMIT} characters: Jobs and Pods append stage and attempt to it",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z][-a-z0-9]*$')",
        "metadata.name must begin with a letter and have no dots, since host names of Pods are made from it: "
        "write qwen2-5 instead of qwen2.5",
    ),
)

# kstatus takes an object without any status for Current; with this one it is InProgress until the operator has seen it.
_UNSEEN = {"observedGeneration": -1}


def custom_resource_definition(kind: type[AnyResource]) -> dict[str, Any]:
    """Give the CustomResourceDefinition of `kind`, as `kubectl apply` takes it."""
    name = kind.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": list(kind.short_names),
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root_schema(kind)},
                }
            ],
        },
    }


def _root_schema(kind: type[AnyResource]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": kind.summary,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(_model_of(kind, "spec")),
            "status": {**structural_schema(_model_of(kind, "status"), defaults=False), "default": _UNSEEN},
        },
        "x-kubernetes-validations": [rule.to_schema() for rule in _NAME_RULES],
    }


def _model_of(kind: type[AnyResource], field: str) -> type[BaseModel]:
    model = kind.model_fields[field].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model
