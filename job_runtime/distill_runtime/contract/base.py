"""The base of every model that crosses a boundary: frozen, strict about names, camelCase outside."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A frozen value. Attributes are snake_case in Python and camelCase in JSON; unknown names are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
    )

    def to_json(self) -> dict[str, object]:
        """Give the JSON form, camelCase, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Parameters(Model):
    """A block of parameters that appears in a custom resource and, unchanged, in a stage's contract."""
