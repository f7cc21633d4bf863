"""`portside-agent pushes`: copies that wait or were given up and why; try again, or drop them."""

from __future__ import annotations

from collections.abc import Sequence

from agent.commands.deliveries import Action, moment
from agent.index.database import Database
from agent.replication.queue import Push, Pushes
from agent.settings import Settings


def run(settings: Settings, action: Action, ids: Sequence[str]) -> str:
    """Carry out an action on the pushes with these ids; returns what to say.

    Without ids `retry` and `drop` mean every one that was given up. Raises ValueError for an id
    that no push has, before anything is changed.
    """
    database = Database(settings.index)
    try:
        pushes = Pushes(database)
        rows = _chosen(pushes.all(), action, ids)
        numbers = [row.number for row in rows]
        if action == "retry":
            pushes.retry(numbers)
            return f"{len(rows)} pushes are tried again now"
        if action == "drop":
            pushes.remove(numbers)
            return f"{len(rows)} pushes dropped"
        return "\n".join(_described(row) for row in rows) or "every push is made"
    finally:
        database.close()


def _chosen(rows: Sequence[Push], action: Action, ids: Sequence[str]) -> list[Push]:
    if not ids:
        return [row for row in rows if action == "list" or row.state == "DEAD"]
    known = {row.push_id: row for row in rows}
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise ValueError(f"no push has the id {', '.join(unknown)}")
    return [known[each] for each in ids]


def _described(row: Push) -> str:
    """One line per push, and one more for what went wrong."""
    again = "given up" if row.state == "DEAD" else f"due {moment(row.due)}"
    line = f"{row.push_id}  {again}  {row.attempts} attempts  file {row.file_id}  to {row.target}"
    return f"{line}\n    {row.error}" if row.error else line
