"""Work that the control plane leased to this node: taken once, carried out once, told until heard.

A lease is TAKEN when its row is on disk; BEGUN when its push is ordered (a deletion is over at
once); ENDED with its outcome, which every heartbeat tells until one is answered; then TOLD. Rows of
the last kind stay for a day: the same lease that comes again is told again, not done again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import structlog

from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.replication.queue import PushQueue
from agent.storage.staging import DiskFailed, DiskFull
from portside.wire.files import StoredFile
from portside.wire.heartbeat import MOST_DONE, Lease, WorkDone

_log = structlog.get_logger()

IDLE = 0.5
"""Seconds between two looks for work to do or to hand on."""

REMEMBERED = 86400
"""Seconds after its time for which a lease that was told is known."""

_PAUSE = 30.0
"""Seconds before something is written again that the database didn't take."""

_Outcome = Literal["done", "failed", "missing"]


class Leases:
    """The leases of one node. Every change is durable on return.

    `delete` removes a file for good, by the order that came with the lease, `remove_copy` without a
    tombstone; both return whether it was here and raise DiskFull or DiskFailed.
    """

    def __init__(
        self,
        node_id: str,
        database: Database,
        pushes: PushQueue,
        delete: Callable[[str, str | None], bool],
        remove_copy: Callable[[str], bool],
    ) -> None:
        self._node_id = node_id
        self._database = database
        self._pushes = pushes
        self._delete = delete
        self._remove_copy = remove_copy
        self._ordered: set[str] = set()

    # -- between heartbeats ------------------------------------------------------------------------

    def take(self, leases: Sequence[Lease], now: datetime) -> None:
        """Take on what an answer brought at `now` by the control plane's clock, which alone says
        how long each lease still lasts. Raises sqlite3.Error.
        """
        if not leases:
            return
        with self._database.transaction() as connection:
            for lease in leases:
                left = (lease.until - now).total_seconds()
                if left > 0:
                    _take(connection, lease, int(time.time() + left))
                else:
                    _log.warning("lease has expired on its way", **_named(lease))

    def to_tell(self) -> list[WorkDone]:
        """Outcomes that no answered heartbeat has told yet, the oldest first."""
        rows = self._database.rows(
            "SELECT done FROM leases WHERE state = 'ENDED' ORDER BY until, lease_id LIMIT ?",
            (MOST_DONE,),
        )
        return [WorkDone.model_validate_json(done) for (done,) in rows]

    def told(self, lease_ids: Sequence[str]) -> None:
        """The control plane knows these outcomes. Raises sqlite3.Error."""
        if not lease_ids:
            return
        self._pushes.forget(lease_ids)
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE leases SET state = 'TOLD' WHERE lease_id = ? AND state = 'ENDED'",
                [(each,) for each in lease_ids],
            )
            connection.execute(
                "DELETE FROM leases WHERE state = 'TOLD' AND until < ?",
                (int(time.time()) - REMEMBERED,),
            )

    def unfinished(self) -> int:
        """How many are taken and not at their end."""
        row = self._database.row("SELECT count(*) FROM leases WHERE state IN ('TAKEN', 'BEGUN')")
        return 0 if row is None else int(row[0])

    # -- carrying out ------------------------------------------------------------------------------

    def run(self, pulse: Pulse) -> None:
        """Carry out whatever is taken until the worker is to stop."""
        while not pulse.stopped:
            try:
                self._carry_out(pulse)
                pulse.wait(IDLE)
            except sqlite3.OperationalError as error:
                _log.error("the database took nothing, trying again", error=str(error))
                pulse.wait(_PAUSE)

    def _carry_out(self, pulse: Pulse) -> None:
        for lease, until in self._in_state("TAKEN"):
            pulse.beat()
            if pulse.stopped:
                return
            if time.time() >= until:
                # Somebody else may have it by now.
                _log.warning("lease has expired before it was begun", **_named(lease))
                self._forget(lease)
            elif lease.kind == "delete":
                self._end(self._deleted(lease))
            else:
                self._begin_push(lease)
        self._settle_pushes()

    def _begin_push(self, lease: Lease) -> None:
        refused = self._refused(lease)
        if refused is not None:
            self._end(refused)
        else:
            # The row first: a push without one would never be told of.
            self._mark(lease, "BEGUN")

    def _settle_pushes(self) -> None:
        begun = [lease for lease, _ in self._in_state("BEGUN")]
        for lease in begun:
            if lease.lease_id not in self._ordered:
                # After a restart once more: the outbox knows those that it has.
                self._pushes.order(
                    *(lease.file_id, lease.target or "", lease.lease_id),
                    *(lease.bytes_per_second, lease.order),
                )
                self._ordered.add(lease.lease_id)
        if begun:
            for done in self._pushes.ended([lease.lease_id for lease in begun]):
                self._end(done)
                self._ordered.discard(done.lease_id)

    def _deleted(self, lease: Lease) -> WorkDone:
        if lease.tombstone and self._state_of(lease) == "DELETED":
            # Before a crash that came between the deletion and its row here.
            return _ended(lease, "done")
        refused = self._refused(lease)
        if refused is not None:
            return refused
        try:
            there = (
                self._delete(lease.file_id, lease.order)
                if lease.tombstone
                else self._remove_copy(lease.file_id)
            )
        except (DiskFull, DiskFailed, sqlite3.OperationalError) as error:
            return _ended(lease, "failed", str(error))
        return _ended(lease, "done") if there else _missing(lease)

    def _refused(self, lease: Lease) -> WorkDone | None:
        """Why a lease can't be carried out here, if it can't."""
        row = self._database.row(
            "SELECT stored, state FROM files WHERE file_id = ? AND state IN ('COMMITTED', 'ENDED')",
            (lease.file_id,),
        )
        if row is None:
            return _missing(lease)
        if row[1] == "ENDED" and lease.kind == "replicate":
            # Not `missing`: its bytes are here, and its end may be taken back.
            return _ended(lease, "failed", "the file has come to its end")
        stored = StoredFile.model_validate_json(row[0])
        if (stored.sha256, stored.size) != (lease.sha256, lease.size):
            return _ended(lease, "failed", "this node's file has other content than the lease says")
        if lease.kind == "replicate" and lease.target in (None, self._node_id):
            return _ended(lease, "failed", "the lease names no other node to copy to")
        return None

    # -- rows --------------------------------------------------------------------------------------

    def _in_state(self, state: str) -> list[tuple[Lease, int]]:
        rows = self._database.rows(
            "SELECT lease, until FROM leases WHERE state = ? ORDER BY until, lease_id", (state,)
        )
        return [(Lease.model_validate_json(text), until) for text, until in rows]

    def _state_of(self, lease: Lease) -> str | None:
        row = self._database.row("SELECT state FROM files WHERE file_id = ?", (lease.file_id,))
        return None if row is None else str(row[0])

    def _mark(self, lease: Lease, state: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE leases SET state = ? WHERE lease_id = ?", (state, lease.lease_id)
            )

    def _end(self, done: WorkDone) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE leases SET state = 'ENDED', done = ? WHERE lease_id = ?",
                (done.model_dump_json(), done.lease_id),
            )
        _log.info("lease ended", lease_id=done.lease_id, outcome=done.outcome, detail=done.detail)

    def _forget(self, lease: Lease) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE lease_id = ?", (lease.lease_id,))


def _take(connection: sqlite3.Connection, lease: Lease, until: int) -> None:
    """A lease's row: new, known, or known and to be carried out once more."""
    row = connection.execute(
        "SELECT state, lease, done FROM leases WHERE lease_id = ?", (lease.lease_id,)
    ).fetchone()
    text = lease.model_dump_json()
    if row is None:
        connection.execute(
            "INSERT INTO leases VALUES (?, 'TAKEN', ?, ?, NULL)", (lease.lease_id, text, until)
        )
        _log.info("lease taken", **_named(lease))
        return
    state, before, done = row
    if state == "TAKEN":
        connection.execute(
            "UPDATE leases SET lease = ?, until = ? WHERE lease_id = ?",
            (text, until, lease.lease_id),
        )
    elif state == "TOLD":
        again = (
            WorkDone.model_validate_json(done).outcome != "done"
            and Lease.model_validate_json(before).until != lease.until
        )
        # The same once more: its outcome didn't arrive. What failed is granted anew to be retried.
        connection.execute(
            "UPDATE leases SET state = ?, lease = ?, until = ? WHERE lease_id = ?",
            ("TAKEN" if again else "ENDED", text, until, lease.lease_id),
        )


def _ended(lease: Lease, outcome: _Outcome, detail: str = "") -> WorkDone:
    return WorkDone(lease_id=lease.lease_id, outcome=outcome, detail=detail[:500])


def _missing(lease: Lease) -> WorkDone:
    return _ended(lease, "missing", "this node has no such file in service")


def _named(lease: Lease) -> dict[str, str]:
    return {"lease_id": lease.lease_id, "kind": lease.kind, "file_id": lease.file_id}
