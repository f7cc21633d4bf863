"""What is said of how long files live: lifetimes asked for, changed, and carried to every copy.

A moment at which a file ends is a number of Unix seconds wherever nodes keep or send it; apps and
people may write it as RFC 3339 as well, and durations as `30d`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from portside.quantities import parse_duration
from portside.wire.base import Message, Request
from portside.wire.fields import FileId
from portside.wire.spellings import AnyMoment

LONGEST = 100 * 365 * 86400
"""Seconds of the longest lifetime: whoever wants more wants none."""

LATEST = 2**33
"""Unix seconds (in the year 2242): later than the longest lifetime of today's files."""

MOST_CHANGES = 200
"""Changed lifetimes in one heartbeat, and in its answer: some 20 KiB."""

ExpiresAt = Annotated[int, Field(ge=0, le=LATEST)]
"""When a file ends, Unix seconds."""

ExpiresIn = Annotated[int, Field(gt=0, le=LONGEST)]
"""Seconds from a file's commit to its end."""


def _duration(value: object) -> object:
    """Seconds of `30d`. JSON's true is no number."""
    if isinstance(value, bool):
        raise ValueError("write a duration in seconds, or as 30d, 12h or 15m")
    return parse_duration(value) if isinstance(value, str) else value


AnyLifetime = Annotated[int, BeforeValidator(_duration), Field(gt=0, le=LONGEST)]
"""A lifetime in seconds, or as people write it: `30d`, `12h`."""

_FromNow = Annotated[int, BeforeValidator(_duration), Field(ge=0, le=LONGEST)]


class LifetimeChange(Request):
    """When a file is to end from now on: `PATCH /api/v1/files/<id>`. Exactly one of the two.

    A moment that lies behind ends it now. One that ended is taken back as long as its bytes are
    kept.
    """

    expires_in: _FromNow | None = Field(
        default=None,
        description="Seconds from now, also as `30d`; 0: it ends now.",
    )
    expires_at: AnyMoment | None = Field(
        default=None,
        description="The moment (RFC 3339, or Unix seconds); null: it doesn't end by itself.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_of_both(cls, data: Any) -> Any:
        if isinstance(data, dict):
            named = {cls._field_of(key) for key in data} & {"expires_in", "expires_at"}
            if len(named) != 1:
                raise ValueError(
                    "give 'expires_in' (seconds from now, or as 30d) or 'expires_at' (a moment, "
                    "or null for a file that is to stay), and only one of them"
                )
        return data

    @model_validator(mode="after")
    def _said(self) -> Self:
        if "expires_in" in self.model_fields_set and self.expires_in is None:
            raise ValueError("expires_in: a number of seconds; 'expires_at': null lets it stay")
        if self.expires_at is not None and not 0 <= self.expires_at.timestamp() <= LATEST:
            raise ValueError("expires_at: a moment between the years 1970 and 2242")
        return self

    def moment(self, now: datetime) -> int | None:
        """When the file ends, Unix seconds; None if it isn't to."""
        if self.expires_in is not None:
            return int(now.timestamp()) + self.expires_in
        return None if self.expires_at is None else int(self.expires_at.timestamp())


class LifetimeOrder(Message):
    """When a node's copy of a file is to end, by the control plane's word."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**31)
    """Rises with each change of the file."""
    expires_at: ExpiresAt | None = None


class LifetimeKept(Message):
    """A node's word that it has carried out an order, or hasn't the file (any more)."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**31)
