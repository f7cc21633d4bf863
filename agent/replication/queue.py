"""Copies to be made on other nodes: the durable outbox, its leases, and the receipts that came.

A push is a row for one file and one target, written together with the intent to commit the file, so
that no crash loses it. The node's `own` pushes wait until they succeed or are given up, and are on
a list then. Those that the control plane ordered end with its leases: how each lease ended is kept
until the control plane has heard of it. A push begins only when its file is committed, and goes
with it: what is deleted is copied no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.index.database import Database
from agent.index.files import add_own_pushes
from agent.outbox.events import public_id
from agent.outbox.retry import Following
from agent.replication.attempt import LEASE_ATTEMPTS
from portside.wire.fields import FileId
from portside.wire.files import StoredFile
from portside.wire.heartbeat import WorkDone


@dataclass(frozen=True, slots=True)
class Lag:
    """Pushes to other nodes that wait: how many, and for how many seconds the oldest has."""

    waiting: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Push:
    """One copy to be made. `due` and `ordered_at` are Unix seconds."""

    number: int
    file_id: str
    target: str
    own: bool
    bytes_per_second: int | None
    state: Literal["WAITING", "DEAD"]
    attempts: int
    due: int
    ordered_at: int
    error: str
    proof: str | None
    """What lets the target take the copy, if anything is known."""
    trace: str | None
    """The span that it was ordered in, if there was one."""

    @property
    def public_id(self) -> str:
        """How people name it: the same for as long as file and target are."""
        return public_id(self.file_id, "push", self.target)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A push of a file that is deleted, and the id of the token that this was uploaded with."""

    target: str
    jti: str
    stored: StoredFile


_COLUMNS = (
    "push_id, pushes.file_id, target, own, bytes_per_second, pushes.state, attempts, due, "
    "ordered_at, error, proof, trace"
)

_UNWANTED = (
    "NOT EXISTS (SELECT 1 FROM files WHERE files.file_id = pushes.file_id "
    "AND files.state IN ('PENDING', 'COMMITTED', 'QUARANTINED'))"
)
_NOT_HERE = (
    "outcome IS NULL AND NOT EXISTS (SELECT 1 FROM files "
    "WHERE files.file_id = push_leases.file_id "
    "AND files.state IN ('PENDING', 'COMMITTED', 'ENDED'))"
)
_END_MISSING = (
    "UPDATE push_leases SET outcome = 'missing', detail = 'the file is not on this node' "  # noqa: S608 (our own texts)
    f"WHERE {_NOT_HERE}"
)
_END_ENDED = (
    "UPDATE push_leases SET outcome = 'failed', detail = 'the file has ended' "
    "WHERE outcome IS NULL AND EXISTS (SELECT 1 FROM files "
    "WHERE files.file_id = push_leases.file_id AND files.state = 'ENDED')"
)
_NOBODYS = (
    "own = 0 AND NOT EXISTS (SELECT 1 FROM push_leases WHERE outcome IS NULL "
    "AND push_leases.file_id = pushes.file_id AND push_leases.target = pushes.target)"
)


class PushQueue:
    """The rows of one node's pushes. Every change is durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # What the control plane orders and hears

    def order(
        self,
        file_id: FileId,
        target: str,
        lease_id: str | None = None,
        bytes_per_second: int | None = None,
        proof: str | None = None,
    ) -> None:
        """Copy a file to a node. Ordering the same again changes nothing but its bound and proof.

        With a lease the push is over when the lease is: `ended` tells how. A lease for a file that
        isn't committed here ends as `missing`. A copy that was confirmed before is made sure of
        again: what the target still has it isn't sent.
        """
        now = int(time.time())
        with self._database.transaction() as connection:
            if lease_id is not None:
                new = connection.execute(
                    "INSERT OR IGNORE INTO push_leases (lease_id, file_id, target) "
                    "VALUES (?, ?, ?)",
                    (lease_id, file_id, target),
                )
                if new.rowcount == 0:
                    return
                missing = connection.execute(_END_MISSING + " AND lease_id = ?", (lease_id,))
                if missing.rowcount:
                    return
            connection.execute(
                "INSERT INTO pushes "
                "(file_id, target, own, bytes_per_second, state, due, ordered_at, proof) "
                "VALUES (?, ?, ?, ?, 'WAITING', ?, ?, ?) ON CONFLICT (file_id, target) DO UPDATE "
                "SET bytes_per_second = excluded.bytes_per_second, state = 'WAITING', "
                "attempts = 0, own = max(own, excluded.own), due = min(due, excluded.due), "
                "proof = coalesce(excluded.proof, proof)",
                (file_id, target, lease_id is None, bytes_per_second, now, now, proof),
            )

    def ended(self, lease_ids: Sequence[str]) -> Sequence[WorkDone]:
        """How these leases ended, as far as they have."""
        rows = self._database.rows(
            "SELECT lease_id, outcome, detail, receipt FROM push_leases "
            "WHERE outcome IS NOT NULL AND lease_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(lease_ids)),),
        )
        return [
            WorkDone(lease_id=lease_id, outcome=outcome, detail=detail, receipt=receipt)
            for lease_id, outcome, detail, receipt in rows
        ]

    def forget(self, lease_ids: Sequence[str]) -> None:
        """The control plane knows how these ended, or wants them no more."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM push_leases WHERE lease_id = ?", [(each,) for each in lease_ids]
            )
            connection.execute(f"DELETE FROM pushes WHERE {_NOBODYS}")  # noqa: S608 (our own text)

    def lag(self) -> Lag:
        """The copies that are still to be made, those that were given up among them."""
        count, oldest = self._database.rows("SELECT count(*), min(ordered_at) FROM pushes")[0]
        return Lag(count, 0.0 if oldest is None else max(0.0, time.time() - oldest))

    # What the worker does

    def due(
        self, now: int, running: Sequence[int], busy: Sequence[str]
    ) -> tuple[Push, StoredFile] | None:
        """The push that has been due longest, of none of the busy targets, and its file."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS}, stored FROM pushes "  # noqa: S608 (our own texts)
            "JOIN files ON files.file_id = pushes.file_id AND files.state = 'COMMITTED' "
            "WHERE pushes.state = 'WAITING' AND due <= ? "
            "AND push_id NOT IN (SELECT value FROM json_each(?)) "
            "AND target NOT IN (SELECT value FROM json_each(?)) ORDER BY due, push_id LIMIT 1",
            (now, json.dumps(list(running)), json.dumps(list(busy))),
        )
        if not rows:
            return None
        *values, stored = rows[0]
        return _push(values), StoredFile.model_validate_json(stored)

    def token_of(self, file_id: str) -> str | None:
        """The id of the token that a committed file was uploaded with."""
        row = self._database.row(
            "SELECT jti FROM files WHERE file_id = ? AND state = 'COMMITTED'", (file_id,)
        )
        return None if row is None else str(row[0])

    def is_wanted(self, push: Push) -> bool:
        """Whether a push that is under way is to go on: nobody dropped it or deleted its file."""
        query = (
            "SELECT 1 FROM pushes JOIN files ON files.file_id = pushes.file_id "
            "AND files.state = 'COMMITTED' WHERE push_id = ? AND target = ?"
        )
        return self._database.row(query, (push.number, push.target)) is not None

    def succeeded(self, push: Push, receipt: str) -> None:
        """The target's receipt is in: the copy counts from here on, and its leases are done."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO copies SELECT file_id, ?, ?, ? FROM files "
                "WHERE file_id = ? AND state = 'COMMITTED'",
                (push.target, receipt, int(time.time()), push.file_id),
            )
            connection.execute(
                "UPDATE push_leases SET outcome = 'done', receipt = ? "
                "WHERE file_id = ? AND target = ? AND outcome IS NULL",
                (receipt, push.file_id, push.target),
            )
            connection.execute("DELETE FROM pushes WHERE push_id = ?", (push.number,))

    def put_off(self, push: Push, following: Following) -> None:
        """An attempt failed. Leases wait for a few only; what is left of them is the node's own."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE pushes SET state = ?, attempts = ?, due = ?, error = ? WHERE push_id = ?",
                (
                    *(following.state, following.attempts, following.due, following.error),
                    push.number,
                ),
            )
            if following.state == "DEAD" or following.attempts >= LEASE_ATTEMPTS:
                connection.execute(
                    "UPDATE push_leases SET outcome = 'failed', detail = ? "
                    "WHERE file_id = ? AND target = ? AND outcome IS NULL",
                    (following.error, push.file_id, push.target),
                )
                connection.execute(
                    f"DELETE FROM pushes WHERE push_id = ? AND {_NOBODYS}",  # noqa: S608 (our own)
                    (push.number,),
                )

    def settle_gone(self) -> Sequence[Dropped]:
        """Drop pushes of files that are deleted, end leases of files that aren't here (any more).

        Returns the pushes of files that were deleted: their targets may have begun to take them. An
        own push of a file in quarantine waits: the file may be repaired.
        """
        texts = (
            f"SELECT 1 FROM push_leases WHERE {_NOT_HERE} UNION ALL "  # noqa: S608 (our own texts)
            f"SELECT 1 FROM pushes WHERE {_UNWANTED} OR {_NOBODYS} LIMIT 1"
        )
        if self._database.row(texts) is None:
            return ()
        with self._database.transaction() as connection:
            connection.execute(_END_MISSING)
            connection.execute(_END_ENDED)
            dropped = connection.execute(
                "SELECT target, jti, stored FROM pushes "
                "JOIN files ON files.file_id = pushes.file_id "
                "WHERE files.state IN ('DELETING', 'DELETED', 'ENDED') ORDER BY target"
            ).fetchall()
            connection.execute(
                f"DELETE FROM pushes WHERE {_UNWANTED} OR {_NOBODYS}"  # noqa: S608 (our own texts)
            )
        return [
            Dropped(target, jti, StoredFile.model_validate_json(stored))
            for target, jti, stored in dropped
        ]

    # What an operator sees, and a new index

    def all(self) -> list[Push]:
        """Every push that isn't made, those given up first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM pushes ORDER BY state, due, push_id"  # noqa: S608 (our own)
        )
        return [_push(values) for values in rows]

    def counts(self) -> tuple[int, int]:
        """How many wait, and how many were given up."""
        found = dict(self._database.rows("SELECT state, count(*) FROM pushes GROUP BY state"))
        return found.get("WAITING", 0), found.get("DEAD", 0)

    def retry(self, numbers: Sequence[int]) -> None:
        """Try these again now, with all their attempts."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE pushes SET state = 'WAITING', attempts = 0, due = 0 WHERE push_id = ?",
                [(each,) for each in numbers],
            )

    def remove(self, numbers: Sequence[int]) -> None:
        """Pushes that are wanted no more; leases for them end as failed."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE push_leases SET outcome = 'failed', detail = 'dropped by an operator' "
                "WHERE outcome IS NULL AND (file_id, target) = "
                "(SELECT file_id, target FROM pushes WHERE push_id = ?)",
                [(each,) for each in numbers],
            )
            connection.executemany(
                "DELETE FROM pushes WHERE push_id = ?", [(each,) for each in numbers]
            )

    def order_again(self, files: Sequence[tuple[FileId, Sequence[str], str | None]]) -> None:
        """After the index was rebuilt: copies of which nothing is known are made (sure of) again.

        What a target has it isn't sent once more: its receipt is all that comes back.
        """
        with self._database.transaction() as connection:
            for file_id, replicas, proof in files:
                add_own_pushes(connection, file_id, replicas, proof, again=True)


def _push(values: Sequence[object]) -> Push:
    # The columns' types are SQLite's to hold (STRICT).
    return Push(*values)  # type: ignore[arg-type]
