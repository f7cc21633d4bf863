"""What is said of a file and may change after its backup: when it ends, and whether it is held.

An object's metadata say how that was at the backup, and can't be changed without sending its bytes
once more. What is said later goes into a small object of its own, named by the file's id, which
counts before the metadata: so a restore onto an empty disk brings back nothing that has ended, and
publishes nothing that was taken down. Objects of releases that told nothing have neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from portside.wire.fields import ExpiresAt
from portside.wire.files import HoldNote, StoredFile

CHANGED = ".changed/"
"""Behind the prefix: one small object per file of which something was said after its backup.

No namespace begins with a dot, so no file's key is among them."""

MOST = 4096
"""Bytes of such an object: a note's reason and name of 328 characters in any script fit."""

_SAID = "portside-said"


class Said(BaseModel):
    """When a file ends, Unix seconds, and whether it is held."""

    # A later release may say more.
    model_config = ConfigDict(frozen=True, extra="ignore")

    expires_at: ExpiresAt | None = None
    held: bool
    hold: HoldNote | None = None

    @classmethod
    def of(cls, stored: StoredFile) -> Self:
        """What a node knows of its file."""
        return cls(expires_at=stored.expires_at, held=stored.held, hold=stored.hold)

    @classmethod
    def in_metadata(cls, metadata: Mapping[str, str]) -> Self | None:
        """What an object's metadata say; None where they say nothing. Raises ValidationError."""
        text = metadata.get(_SAID)
        return None if text is None else cls.model_validate_json(text)

    @classmethod
    def in_marker(cls, text: bytes | None) -> Self | None:
        """What was said later; None where nothing was, or nothing that can be read."""
        try:
            return None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None

    def metadata(self) -> dict[str, str]:
        """For an object that is made now. The note may be longer than metadata can be."""
        return {_SAID: self.model_dump_json(exclude={"hold"}, exclude_none=True)}

    def marker(self) -> bytes:
        """The content of the small object."""
        return self.model_dump_json(exclude_none=True).encode()

    def after(self, other: Said | None) -> Said:
        """This one, with the hold or release that `other` tells where that came later.

        Nodes that were away tell what they knew, until they hear of more.
        """
        if other is None or other.hold is None:
            return self
        if self.hold is None or self.hold.at < other.hold.at:
            return self.model_copy(update={"held": other.held, "hold": other.hold})
        return self

    def is_as(self, other: Said) -> bool:
        """Whether both come to the same for who asks for the file."""
        return (self.expires_at, self.held) == (other.expires_at, other.held)


def changed_key(prefix: str, file_id: str) -> str:
    """The object that has what was said of a file after its backup."""
    return f"{prefix}{CHANGED}{file_id}"
