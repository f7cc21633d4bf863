"""How much of the node each owner has: files by their state, and what open uploads come to.

What is stored stands in `usage`, which triggers keep (`agent.index.schema`): a row for each state,
however many files there are. Open uploads are few, and added up when they are asked for: the index
has those that go on, its caller those that are stored in the request that is at work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.index.database import Database
from portside.wire.bounds import LARGEST


@dataclass(frozen=True, slots=True)
class Amounts:
    """So many files with so many bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class AtWork:
    """A token's upload that no row tells of yet, and the bytes that it may come to."""

    token: str
    bytes: int


OPEN = "OPEN"
"""Uploads that haven't come to their end, beside the states of files."""


@dataclass(frozen=True, slots=True)
class Used:
    """What one owner has, by state: those of files, and `OPEN`."""

    by_state: Mapping[str, Amounts]

    @property
    def files(self) -> int:
        """All of them, whatever they are doing."""
        return sum(each.files for each in self.by_state.values())

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(each.bytes for each in self.by_state.values())

    def of(self, *states: str) -> Amounts:
        """What is in these states."""
        found = [self.by_state[state] for state in states if state in self.by_state]
        return Amounts(sum(each.files for each in found), sum(each.bytes for each in found))


class UsageIndex:
    """The question, and its answer as of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, owner: str, at_work: Sequence[AtWork], but: str | None = None) -> Used:
        """What an owner has, but for the uploads of the token with the id `but`.

        A token makes one file. Once that has a row its uploads count no more: they are that file.
        """
        rows = self._database.rows(
            _USED,
            {
                "owner": owner,
                "but": but,
                "open": OPEN,
                "at_work": json.dumps([[each.token, each.bytes] for each in at_work]),
            },
        )
        return Used({state: Amounts(files, size) for state, files, size in rows if files})


def count_anew(database: Database) -> None:
    """Add up all files: whatever was done to the database by hand, usage is right again."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM usage")
        connection.execute(
            "INSERT INTO usage SELECT owner, state, count(*), sum(size) FROM files "
            "WHERE state != 'DELETED' GROUP BY owner, state"
        )


_MAY_COME_TO = (
    "min(sum(coalesce(length, max(promised, offset))), "
    "max(CASE kind WHEN 'part' THEN coalesce(json_extract(details, '$.claims.size'), "
    f"json_extract(details, '$.claims.max_size')) ELSE {LARGEST} END))"
)
"""Of a token's uploads together. The parts of one file may have been begun twice: they come to no
more than the token allows (`agent.resumable.staging`)."""

_OWNER = "CASE WHEN json_valid(details) THEN json_extract(details, '$.claims.sub') END"
"""Word for word as in the index `uploads_by_owner`."""

_USED = (
    f"WITH tokens (jti, bytes) AS (SELECT jti, {_MAY_COME_TO} FROM uploads "  # noqa: S608 (our own texts)
    # A final upload has the bytes of its parts.
    f"WHERE state = 'OPEN' AND {_OWNER} = :owner AND kind != 'final' GROUP BY jti "
    "UNION ALL SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') "
    "FROM json_each(:at_work)) "
    "SELECT state, files, bytes FROM usage WHERE owner = :owner "
    "UNION ALL SELECT :open, count(*), coalesce(sum(bytes), 0) FROM "
    "(SELECT jti, max(bytes) AS bytes FROM tokens WHERE jti IS NOT :but "
    "AND NOT EXISTS (SELECT 1 FROM files WHERE files.jti = tokens.jti) GROUP BY jti)"
)
