"""What the scanner found, for the control plane: told until an answer says that it was heard.

The control plane takes a verdict only for a copy that it knows to be here: one that comes before
its file's receipt is told again. Nothing waits for it here: this node goes by its scanner alone.

A control plane whose database is an older one has forgotten verdicts, and an index that was built
anew has lost what was still to be told: then those of the last days are told once more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

from agent.index.database import Database
from agent.index.files import stored_of
from agent.outbox.deliveries import Outbox
from agent.outbox.events import VERDICT, VERDICTS_TOLD
from agent.outbox.retry import Schedule
from portside.backoff import Backoff
from portside.wire.fields import FileId
from portside.wire.files import StoredFile
from portside.wire.heartbeat import MOST_VERDICTS, ScanVerdict

SCHEDULE = Schedule(Backoff(first=15, longest=3600, spread=(0.5, 1.0)), most=1_000_000)
"""Seconds until one that wasn't heard is told again. It is never given up: without it nobody is
sent to the file."""


ANEW = 7 * 86400
"""Seconds back to the commits whose verdicts are told once more. Backups of the control plane's
database are an hour old, and two days if the newest are no use."""

_FORGOTTEN = """
SELECT file_id FROM files WHERE state = 'COMMITTED' AND committed_at > ?
AND CASE WHEN json_valid(stored) THEN json_extract(stored, '$.hold.scan') END
    IN ('clean', 'infected', 'unscannable')
"""


class ScanVerdicts:
    """Those of one node, for one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outbox = Outbox(database)
        self._rows: dict[str, tuple[int, int]] = {}
        """Of what was told last: number and attempts, by file."""

    def to_tell(self, now: int) -> tuple[ScanVerdict, ...]:
        """What is due, the oldest first. Of what counts no more nothing is told, and the row goes.

        Raises sqlite3.Error.
        """
        found = self._database.rows(
            "SELECT delivery_id, attempts, files.state, stored "
            "FROM deliveries LEFT JOIN files USING (file_id) "
            "WHERE deliveries.kind = ? AND deliveries.state = 'WAITING' AND due <= ? "
            "ORDER BY due, delivery_id LIMIT ?",
            (VERDICT, now, MOST_VERDICTS),
        )
        verdicts, over = [], []
        self._rows = {}
        for number, attempts, state, text in found:
            verdict = None if text is None else _verdict(state, stored_of(text))
            if verdict is None:
                over.append(number)
            else:
                self._rows[verdict.file_id] = number, attempts
                verdicts.append(verdict)
        if over:
            self._outbox.remove(over)
        return tuple(verdicts)

    def told(self, verdicts: Sequence[ScanVerdict], heard: Sequence[FileId], now: int) -> None:
        """These were sent, and those of them heard. Raises sqlite3.Error."""
        taken = self._rows.keys() & set(heard)
        if taken:
            self._outbox.remove([self._rows[each][0] for each in taken])
        for each in verdicts:
            if each.file_id not in taken:
                number, attempts = self._rows[each.file_id]
                why = "the control plane doesn't know of this copy yet"
                chance = random.random()  # noqa: S311 (jitter)
                self._outbox.put_off(number, SCHEDULE.following(attempts + 1, why, now, chance))

    def learned(self, learned_at: datetime | None, now: int) -> None:
        """When the control plane was last found to have forgotten files, as its answers say.

        Raises sqlite3.Error.
        """
        memory = "" if learned_at is None else learned_at.isoformat()
        if self._database.note(VERDICTS_TOLD) == memory:
            return
        found = self._database.rows(_FORGOTTEN, ((now - ANEW) * 1_000_000,))
        if found:
            with self._database.transaction() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO deliveries (file_id, kind, target, state, due) "
                    "VALUES (?, ?, 'control', 'WAITING', 0)",
                    [(file_id, VERDICT) for (file_id,) in found],
                )
        self._database.take_note(VERDICTS_TOLD, memory)


def _verdict(state: str, stored: StoredFile) -> ScanVerdict | None:
    """What is to be told of a file; None if it is gone, or a person has spoken since."""
    if state in ("DELETING", "DELETED") or stored.hold is None or stored.hold.scan is None:
        return None
    return ScanVerdict(
        file_id=stored.file_id, sha256=stored.sha256, held=stored.held, note=stored.hold
    )
