"""The field reference, docs/reference.md: the schemas of the three kinds as tables."""

from collections.abc import Iterator
from typing import Any

from distill_operator.api.common import GROUP, VERSION, AnyResource
from distill_operator.api.crds import custom_resource_definition

_HEADER = (
    "# Reference of the custom resources\n"
    "Generated from the models in operator/distill_operator/api by `make generate`. The same text is in the cluster:\n"
    "`kubectl explain finetunerun.spec.training`.\n"
)


def reference_page(kinds: list[type[AnyResource]]) -> str:
    """Give the Markdown page: for each kind a table of spec and status fields and the rules between fields."""
    return _HEADER + "".join(_kind_section(kind) for kind in kinds)


def _kind_section(kind: type[AnyResource]) -> str:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [
        f"\n## {kind.__name__}",
        f"{schema['description']}\n",
        f"apiVersion `{GROUP}/{VERSION}`, short name `{kind.short_names[0]}`.\n",
        "| Field | Type | Default | Description |",
        "|---|---|---|---|",
    ]
    for part in ("spec", "status"):
        lines += [_row(path, field, required) for path, field, required in _fields(part, schema["properties"][part])]
    rules = [rule["message"] for rule in _rules(schema)]
    lines += ["\nRefused by the API server:\n", *(f"- {message}" for message in dict.fromkeys(rules))]
    return "\n".join(lines) + "\n"


def _fields(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field, name in schema.get("required", [])
        yield from _fields(f"{path}.{name}", field)
        yield from _fields(f"{path}.{name}[]", field.get("items", {}))


def _row(path: str, field: dict[str, Any], required: bool) -> str:
    default = "required" if required else _default(field)
    description = _cell(field.get("description", ""))
    return f"| `{path}` | {_type(field)} | {default} | {description} |"


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    bounds = [str(field[bound]) if bound in field else "" for bound in ("minimum", "maximum")]
    span = f" {bounds[0]}–{bounds[1]}" if any(bounds) else ""
    return f"{field.get('type', 'any')}{span}"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default", "")
    if isinstance(default, dict | list) or default == "":
        return ""
    if isinstance(default, str) and "\n" in default:
        return f"a text of {len(default.splitlines())} lines"
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    """Give a text as a cell of a table has it, in code as well."""
    return text.replace("|", "\\|").replace("\n", " ")


def _rules(schema: object) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from schema.get("x-kubernetes-validations", [])
        for value in schema.values():
            yield from _rules(value)
