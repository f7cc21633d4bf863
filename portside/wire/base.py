"""What every message between parts of a cluster has in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Message(BaseModel):
    """A model of what travels: as it came, and never changed."""

    model_config = ConfigDict(frozen=True)


class Request(Message):
    """One that people and apps send: what isn't known in it is an error, so that nobody takes a
    typing mistake for something that was heard.

    A field may also be written in camelCase, or by a name that `also_called` has for it. Null for
    one that has a value of its own without being given is the same as leaving it out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    also_called: ClassVar[Mapping[str, str]] = {}
    """Names that apps know a field by, each with ours."""

    @model_validator(mode="before")
    @classmethod
    def _by_our_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        named: dict[str, Any] = {}
        written: dict[str, str] = {}
        for key, value in data.items():
            field = cls._field_of(key)
            if field in named and not _alike(named[field], value):
                raise ValueError(
                    f"'{written[field]}' and '{key}' mean the same and differ: give one of them"
                )
            if named.get(field) is None:
                named[field], written[field] = value, key
        return {field: value for field, value in named.items() if not cls._is_unsaid(field, value)}

    @classmethod
    def _field_of(cls, key: str) -> str:
        """A field's name as it is written here; what is none stays, to be refused."""
        if key in cls.model_fields:
            return key
        plain = _HUMP.sub("_", key).lower().replace("-", "_")
        found = cls.also_called.get(plain, plain)
        return found if found in cls.model_fields else key

    @classmethod
    def _is_unsaid(cls, field: str, value: object) -> bool:
        known = cls.model_fields.get(field)
        # Where None is a value, it may have been given on purpose.
        return (
            value is None
            and known is not None
            and not known.is_required()
            and known.default is not None
        )

    @classmethod
    def known_names(cls) -> str:
        """The fields that there are, for whoever has sent another one."""
        return ", ".join(cls.model_fields)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        properties = described.get("properties", {})
        for name, field in cls.also_called.items():
            properties[name] = {**properties[field], "description": f"Another name of `{field}`."}
        return described


def _alike(one: object, other: object) -> bool:
    """Whether two values of one field say the same: `5` and `"5"` do."""
    return one is None or other is None or str(one).strip() == str(other).strip()
