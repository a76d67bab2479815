"""Pydantic's JSON schema rewritten into a structural schema, the form a CustomResourceDefinition takes.

Structural schemas (Kubernetes documentation, "Specifying a structural schema") have no $ref, no anyOf with null, no
const, and a boolean exclusiveMinimum; unknown fields are pruned rather than forbidden.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_DROPPED = ("title", "$defs")


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Give the structural schema of `model`, with descriptions, ranges and CEL rules.

    Args:
        model: what is described.
        defaults: whether the API server fills in what is left out.

    Raises:
        ValueError: the model uses something that a structural schema cannot say.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _Rewriter(schema.get("$defs", {}), defaults).rewrite(schema, model.__name__)


class _Rewriter:
    """Rewrites one model's schema; `definitions` are what its references point to."""

    def __init__(self, definitions: Mapping[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def rewrite(self, schema: Mapping[str, Any], path: str) -> Schema:
        """Rewrite the node `schema`; `path` names it in errors."""
        node = {key: value for key, value in schema.items() if key not in _DROPPED}
        if "$ref" in node:
            target = self._definitions[node.pop("$ref").rsplit("/", 1)[-1]]
            return self.rewrite({**target, **node}, path)
        if "anyOf" in node:
            return self._optional(node, path)
        self._children(node, path)
        _scalar(node)
        if not self._defaults:
            node.pop("default", None)
        return node

    def _optional(self, node: Schema, path: str) -> Schema:
        """Rewrite `anyOf: [X, null]`, pydantic's form of an optional field, into X that is not required."""
        branches = [branch for branch in node.pop("anyOf") if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"{path}: a structural schema has no union types")
        return self.rewrite({**branches[0], **node}, path)

    def _children(self, node: Schema, path: str) -> None:
        values = node.pop("additionalProperties", False)
        if "properties" in node:
            node["properties"] = {
                name: self.rewrite(child, f"{path}.{name}") for name, child in node["properties"].items()
            }
        elif _is_any_json(values):
            node["x-kubernetes-preserve-unknown-fields"] = True
        elif values:
            node["additionalProperties"] = self.rewrite(values, f"{path}{{}}")
        if "prefixItems" in node:  # a tuple whose items are alike
            node["items"] = node.pop("prefixItems")[0]
        if "items" in node:
            node["items"] = self.rewrite(node["items"], f"{path}[]")


def _is_any_json(values: object) -> bool:
    """Whether `additionalProperties` allows any JSON value, which the API server then keeps as it is."""
    return values in (True, {}) or (isinstance(values, dict) and values.get("$ref", "").endswith("/JsonValue"))


def _scalar(node: Schema) -> None:
    """Rewrite what stands at the node itself: constants, defaults, integers, exclusive bounds."""
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if node.get("default", "") is None:
        del node["default"]
    elif isinstance(node.get("default"), dict) and "properties" in node:
        # Whole, since the API server checks CEL rules on a default before it fills in those of the properties; but for
        # what it leaves absent.
        filled_in = {name for name, child in node["properties"].items() if "default" in child}
        filled_in |= set(node.get("required", ()))
        node["default"] = {name: value for name, value in node["default"].items() if name in filled_in}
    if node.get("type") == "integer":
        node["format"] = "int64"
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            node |= {bound: node[exclusive], exclusive: True}
