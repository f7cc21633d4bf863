"""Files that were deleted here or went bad, for the control plane to hear of: told until heard.

Each is a note, written in the very transaction that takes the file out of service. Heartbeats tell
the oldest first, and a note goes once a heartbeat that told it was answered. One that was written
anew meanwhile stays: a file that was told, repaired and damaged again is told again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.index.database import Database
from portside.wire.heartbeat import MOST_GONE, GoneFile, WhyGone

_KEY = "gone:"
"""A note with this and a file's id for a key: when it went, in nanoseconds, why, and by whose order
if by any."""

_BEHIND = "gone;"
"""Behind every such key, before any other: so that the notes' own index finds them."""

MOST_CHARACTERS = 256 * 1024
"""Of what one heartbeat tells of these, orders and all: a quarter of what is taken in."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What there is to tell of one file, as its note says it."""

    key: str
    value: str

    @property
    def file(self) -> GoneFile:
        """The same, as heartbeats carry it."""
        stamp, why, *order = self.value.split(" ")
        told: dict[str, object] = {"file_id": self.key.removeprefix(_KEY), "why": why}
        if order:
            told |= {"order": order[0], "deleted_at": _moment(stamp)}
        return GoneFile.model_validate(told)


def note(
    connection: sqlite3.Connection,
    file_id: str,
    why: WhyGone,
    order: str | None = None,
    moment: datetime | None = None,
) -> None:
    """Have it told that a file isn't here any more, in a transaction of the caller's.

    `order` is the token that asked for its deletion, at `moment` or now.
    """
    stamp = _stamp(None if moment is None else int(moment.timestamp() * 10**6) * 1000)
    value = f"{stamp} {why}" + (f" {order}" if order else "")
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (_KEY + file_id, value))


def drop(connection: sqlite3.Connection, file_id: str) -> None:
    """The file is here again: what wasn't told of it is no news any more."""
    connection.execute("DELETE FROM notes WHERE key = ?", (_KEY + file_id,))


def drop_older(connection: sqlite3.Connection, moment: datetime) -> None:
    """Drop what nobody has wanted to hear since `moment`: there may be no control plane at all."""
    connection.execute(
        "DELETE FROM notes WHERE key > ? AND key < ? AND value < ?",
        (_KEY, _BEHIND, _stamp(int(moment.timestamp()) * 10**9)),
    )


def to_tell(database: Database) -> list[Telling]:
    """What the next heartbeat tells, the oldest first. Raises sqlite3.Error."""
    rows = database.rows(
        "SELECT key, value FROM notes WHERE key > ? AND key < ? ORDER BY value LIMIT ?",
        (_KEY, _BEHIND, MOST_GONE),
    )
    tellings, length = list[Telling](), 0
    for key, value in rows:
        length += len(value)
        if tellings and length > MOST_CHARACTERS:
            break
        tellings.append(Telling(key, value))
    return tellings


def told(database: Database, tellings: Sequence[Telling]) -> None:
    """A heartbeat that told these was answered. Raises sqlite3.Error."""
    if tellings:
        with database.transaction() as connection:
            connection.executemany(
                "DELETE FROM notes WHERE key = ? AND value = ?",
                [(each.key, each.value) for each in tellings],
            )


def _moment(stamp: str) -> datetime:
    return datetime.fromtimestamp(int(stamp) // 1000 / 10**6, UTC)


def _stamp(nanoseconds: int | None = None) -> str:
    """Now, or another moment, as text that is in order of time."""
    return f"{time.time_ns() if nanoseconds is None else nanoseconds:020d}"
