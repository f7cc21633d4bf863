"""`portside-agent deliveries`: what waits, what was given up and why; try it again, or drop it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from agent.index.database import Database
from agent.outbox.deliveries import Outbox, Row
from agent.settings import Settings

Action = Literal["list", "retry", "drop"]


def run(settings: Settings, action: Action, ids: Sequence[str]) -> str:
    """Carry out an action on the deliveries with these ids; returns what to say.

    Without ids `retry` and `drop` mean every one that was given up. Raises ValueError for an id
    that no delivery has, before anything is changed.
    """
    database = Database(settings.index)
    try:
        outbox = Outbox(database)
        rows = _chosen(outbox.all(), action, ids)
        numbers = [row.number for row in rows]
        if action == "retry":
            outbox.retry(numbers)
            return f"{len(rows)} deliveries are tried again now"
        if action == "drop":
            outbox.remove(numbers)
            return f"{len(rows)} deliveries dropped"
        return "\n".join(described(row) for row in rows) or "every delivery is made"
    finally:
        database.close()


def _chosen(rows: Sequence[Row], action: Action, ids: Sequence[str]) -> list[Row]:
    if not ids:
        return [row for row in rows if action == "list" or row.state == "DEAD"]
    known = {row.delivery_id: row for row in rows}
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise ValueError(f"no delivery has the id {', '.join(unknown)}")
    return [known[each] for each in ids]


def described(row: Row) -> str:
    """One line per delivery, and one more for what went wrong."""
    again = "given up" if row.state == "DEAD" else f"due {moment(row.due)}"
    line = (
        f"{row.delivery_id}  {again}  {row.attempts} attempts  file {row.file_id}  "
        f"{row.kind} {row.target}"
    )
    return f"{line}\n    {row.error}" if row.error else line


def moment(due: int) -> str:
    """A moment for people, UTC."""
    if due <= time.time():
        return "now"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due))
