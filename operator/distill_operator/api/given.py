"""Fields whose default depends on another field, so that the API server must not fill it in.

Such a field has its default in Python and none in the CustomResourceDefinition: what an object has not set stays
absent, and `model_fields_set` tells.
"""

from pydantic.config import JsonDict


def not_filled_in(schema: JsonDict) -> None:
    """`json_schema_extra` of such a field."""
    schema.pop("default", None)
