"""What the scrubber reads next: decisions without a disk.

A file that was never read comes first, then the one whose last reading is longest ago. Times of
the index are microseconds since 1970.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.host.sha256 import Sha256
from agent.storage.verification import PIECE
from portside.quantities import KIB
from portside.wire.files import StoredFile

COST_OF_OPENING = 256 * KIB
"""A file counts for this many bytes at least: finding it costs a disk as much as reading them.
Without it, ten thousand small files would keep a disk as busy as it can be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A committed file and when it was last found to be sound."""

    stored: StoredFile
    verified_at: int | None

    def is_due(self, now: int, every: int) -> bool:
        """Whether its last reading is `every` seconds ago, or there was none."""
        return self.verified_at is None or now - self.verified_at >= every * 1_000_000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a file from one put in its place, and from itself after a change."""

    inode: int
    size: int
    modified: int


class Bookmark(BaseModel):
    """How far a file was read: saved now and then, so that a restart doesn't begin again."""

    model_config = ConfigDict(frozen=True)

    file_id: str
    begun_at: int
    offset: int = Field(ge=0, multiple_of=PIECE)
    state: str
    """The digest of everything before `offset`, as `Sha256.state` gives it, in base64."""
    inode: int
    size: int
    modified: int

    @field_validator("state")
    @classmethod
    def _is_a_state(cls, value: str) -> str:
        Sha256.from_state(base64.b64decode(value, validate=True))
        return value

    @classmethod
    def at(
        cls, file_id: str, begun_at: int, offset: int, digest: Sha256, seen: Fingerprint
    ) -> Bookmark:
        """A bookmark in a file that looks like `seen`, `digest` being that of what was read."""
        return cls(
            file_id=file_id,
            begun_at=begun_at,
            offset=offset,
            state=base64.b64encode(digest.state()).decode(),
            inode=seen.inode,
            size=seen.size,
            modified=seen.modified,
        )

    @classmethod
    def parse(cls, note: str | None) -> Bookmark | None:
        """A saved bookmark; None when there is none, or it is another version's."""
        try:
            return None if note is None else cls.model_validate_json(note)
        except ValidationError:
            return None

    def digest(self) -> Sha256:
        """The digest of everything before `offset`."""
        return Sha256.from_state(base64.b64decode(self.state))

    def is_open(self, candidate: Candidate) -> bool:
        """Whether the reading it marks has not come to an end since."""
        return self.file_id == candidate.stored.file_id and (
            candidate.verified_at is None or candidate.verified_at < self.begun_at
        )

    def fits(self, candidate: Candidate, seen: Fingerprint) -> bool:
        """Whether it marks a place in this very file, unchanged since."""
        known = Fingerprint(self.inode, self.size, self.modified)
        return self.is_open(candidate) and seen == known


def reading_order(
    begun: Candidate | None,
    oldest: Iterable[Candidate],
    postponed: Iterable[str],
    now: int,
    every: int,
) -> list[Candidate]:
    """The files to read now, in order; none when every file was read lately enough.

    `begun` is read to its end first, `oldest` come as given; `postponed` ones are left out.
    """
    seen = set(postponed)
    order = []
    for each in ([] if begun is None else [begun]) + list(oldest):
        if each.stored.file_id not in seen and (each is begun or each.is_due(now, every)):
            seen.add(each.stored.file_id)
            order.append(each)
    return order
