"""How much owners and apps may have: as the cluster file says it, and the control plane's settings.

No limit is `unlimited` (or null in YAML); what an owner's entry leaves out is as the default says.
TOML has no null, so `unlimited` is what travels.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from portside.quantities import Size
from portside.wire import spellings
from portside.wire.fields import AppId

UNLIMITED = "unlimited"

_MOST = 2**62
"""Below what a database's integers hold, with room for one more sum."""


def _no_limit(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() == UNLIMITED:
        return None
    return value


_Bytes = Annotated[
    Annotated[Size, Field(ge=0, lt=_MOST)] | None,
    BeforeValidator(_no_limit),
]
_Files = Annotated[
    Annotated[int, Field(ge=0, lt=_MOST, strict=True)] | None, BeforeValidator(_no_limit)
]


class Quota(BaseModel):
    """The most that one owner or one app may have; None is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: _Bytes = None
    files: _Files = None

    def over(self, other: Quota) -> Quota:
        """This one, and the other where this one says nothing."""
        return other.model_copy(update=self.said())

    def said(self) -> dict[str, int | None]:
        """What it says itself."""
        return self.model_dump(exclude_unset=True)

    def as_written(self) -> dict[str, int | str]:
        """The same for a file that has no null."""
        return {key: UNLIMITED if most is None else most for key, most in self.said().items()}


class Quotas(BaseModel):
    """Everybody's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Quota = Quota()
    owners: dict[str, Quota] = {}
    apps: dict[AppId, Quota] = {}

    @field_validator("owners", mode="before")
    @classmethod
    def _as_in_sessions(cls, owners: Any) -> Any:
        # One that is a number is read as such from YAML.
        if not isinstance(owners, dict):
            return owners
        named = {spellings.owner(name): quota for name, quota in owners.items()}
        if len(named) < len(owners):
            raise ValueError("names one owner twice: spaces around a name don't make it another")
        return named

    def for_toml(self) -> list[tuple[str, dict[str, int | str]]]:
        """Tables of a TOML file by their names, with what is said in each."""
        every = {
            "default": self.default,
            # JSON's strings, but for the escapes of characters beyond U+FFFF.
            **{
                f"{kind}.{json.dumps(name, ensure_ascii=False)}": quota
                for kind, named in (("owners", self.owners), ("apps", self.apps))
                for name, quota in named.items()
            },
        }
        return [(table, quota.as_written()) for table, quota in every.items() if quota.said()]

    def of_owner(self, owner: str) -> Quota:
        """An owner's, in each app."""
        return self.owners.get(owner, Quota()).over(self.default)

    def of_app(self, app_id: str) -> Quota:
        """An app's: without an entry it has no limit."""
        return self.apps.get(app_id, Quota())
