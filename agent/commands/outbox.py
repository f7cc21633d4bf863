"""`portside-agent deliveries` and `pushes`: what waits, what was given up and why; retry, or drop.

Both are lists of rows that are tried until they succeed or are given up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from agent.outbox.deliveries import Outbox, Row
from agent.replication.queue import Push, PushQueue
from agent.settings import Settings
from agent.storage.opening import open_index

Action = Literal["list", "retry", "drop"]


def deliveries(settings: Settings, action: Action, ids: Sequence[str]) -> str:
    """Carry out an action on the deliveries with these ids; returns what to say.

    Without ids `retry` and `drop` mean every one that was given up. Raises ValueError for an id
    that no delivery has, before anything is changed.
    """
    database = open_index(settings)
    try:
        return _carried_out(Outbox(database), "delivery", "deliveries", action, ids)
    finally:
        database.close()


def pushes(settings: Settings, action: Action, ids: Sequence[str]) -> str:
    """As `deliveries`, of the copies that other nodes don't have yet."""
    database = open_index(settings)
    try:
        return _carried_out(PushQueue(database), "push", "pushes", action, ids)
    finally:
        database.close()


def _carried_out(
    rows: Outbox | PushQueue, one: str, many: str, action: Action, ids: Sequence[str]
) -> str:
    chosen = _chosen(rows.all(), one, action, ids)
    numbers = [row.number for row in chosen]
    if action == "retry":
        rows.retry(numbers)
        return f"{len(chosen)} {many} are tried again now"
    if action == "drop":
        rows.remove(numbers)
        return f"{len(chosen)} {many} dropped"
    return "\n".join(described(row) for row in chosen) or f"every {one} is made"


def _chosen(
    rows: Sequence[Row] | Sequence[Push], one: str, action: Action, ids: Sequence[str]
) -> list[Row | Push]:
    if not ids:
        return [row for row in rows if action == "list" or row.state == "DEAD"]
    known = {row.public_id: row for row in rows}
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise ValueError(f"no {one} has the id {', '.join(unknown)}")
    return [known[each] for each in ids]


def described(row: Row | Push) -> str:
    """One line per row, and one more for what went wrong."""
    again = "given up" if row.state == "DEAD" else f"due {_moment(row.due)}"
    target = f"to {row.target}" if isinstance(row, Push) else f"{row.kind} {row.target}"
    line = f"{row.public_id}  {again}  {row.attempts} attempts  file {row.file_id}  {target}"
    return f"{line}\n    {row.error}" if row.error else line


def _moment(due: int) -> str:
    """A moment for people, UTC."""
    if due <= time.time():
        return "now"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due))
