"""The rows of deliveries: what a commit or a deletion leaves to be told or sent, until it is done.

A row is WAITING until its delivery is made and it goes, or DEAD once it was given up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from agent.index.database import Database
from agent.index.files import stored_of
from agent.outbox.events import public_id
from agent.outbox.retry import Following
from portside.wire.files import StoredFile


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery: `number` is the row's, `delivery_id` what receivers hear."""

    number: int
    file_id: str
    kind: str
    target: str
    state: str
    attempts: int
    due: int
    error: str
    trace: str | None
    """The span that it was written in, if there was one."""

    @property
    def public_id(self) -> str:
        """The same at every attempt."""
        return public_id(self.file_id, self.kind, self.target)


_COLUMNS = "delivery_id, file_id, kind, target, state, attempts, due, error, trace"


class Outbox:
    """The rows of deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self, now: int, running: Sequence[int], busy: Sequence[str], kinds: Sequence[str]
    ) -> Row | None:
        """The delivery of one of these kinds that has been due longest, of no busy target."""
        rows = self._rows(
            "WHERE state = 'WAITING' AND due <= ? "
            "AND delivery_id NOT IN (SELECT value FROM json_each(?)) "
            "AND target NOT IN (SELECT value FROM json_each(?)) "
            "AND kind IN (SELECT value FROM json_each(?)) ORDER BY due, delivery_id LIMIT 1",
            (now, json.dumps(running), json.dumps(busy), json.dumps(kinds)),
        )
        return rows[0] if rows else None

    def all(self) -> list[Row]:
        """Every delivery that isn't made, those given up first."""
        return self._rows("ORDER BY state, due, delivery_id")

    def counts(self, kinds: Sequence[str]) -> tuple[int, int]:
        """How many of these kinds wait, and how many are dead."""
        found = dict(
            self._database.rows(
                "SELECT state, count(*) FROM deliveries "
                "WHERE kind IN (SELECT value FROM json_each(?)) GROUP BY state",
                (json.dumps(kinds),),
            )
        )
        return found.get("WAITING", 0), found.get("DEAD", 0)

    def remove(self, numbers: Sequence[int]) -> None:
        """Deliveries that are made, or wanted no more."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM deliveries WHERE delivery_id = ?", [(each,) for each in numbers]
            )

    def put_off(self, number: int, following: Following) -> None:
        """A delivery that failed."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, due = ?, error = ? "
                "WHERE delivery_id = ?",
                (following.state, following.attempts, following.due, following.error, number),
            )

    def retry(self, numbers: Sequence[int]) -> None:
        """Try these again now, with all their attempts."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET state = 'WAITING', attempts = 0, due = 0 "
                "WHERE delivery_id = ?",
                [(each,) for each in numbers],
            )

    def hasten(self, kind: str) -> None:
        """Try what waits of this kind now: its receiver is back."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET due = 0 WHERE state = 'WAITING' AND kind = ?", (kind,)
            )

    def file_of(self, row: Row) -> tuple[str, StoredFile] | None:
        """The state and the attributes of a delivery's file."""
        found = self._database.row(
            "SELECT state, stored FROM files WHERE file_id = ?", (row.file_id,)
        )
        return None if found is None else (found[0], stored_of(found[1]))

    def _rows(self, condition: str, parameters: Sequence[object] = ()) -> list[Row]:
        return [
            Row(*values)
            for values in self._database.rows(
                f"SELECT {_COLUMNS} FROM deliveries {condition}",  # noqa: S608 (our own texts)
                parameters,
            )
        ]
