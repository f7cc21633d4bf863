"""`portside-agent cold` and `portside-agent restore`: what they do and say."""

from __future__ import annotations

from typing import Literal

from agent.cold.bucket import ColdStore
from agent.cold.meanings import ColdError
from agent.cold.queue import ColdQueue
from agent.cold.restore import Restore, Restored, Wanted
from agent.commands.outbox import described
from agent.index.database import Database
from agent.outbox.cold_orders import KINDS
from agent.outbox.deliveries import Outbox
from agent.settings import Cold, Settings
from agent.storage.opening import open_index
from portside.quantities import format_size
from portside.tokens import SigningKey

Action = Literal["status", "list", "check"]


def run(settings: Settings, action: Action) -> str:
    """What there is to say of the cold tier. Raises ValueError when there is none, or no bucket."""
    cold = configured(settings)
    if action == "check":
        _store(cold).check()
        return f"{cold.target}: answers, and may be read"
    database = open_index(settings)
    try:
        if action == "status":
            return _status(cold, database)
        rows = [row for row in Outbox(database).all() if row.kind in KINDS]
        return "\n".join(described(row) for row in rows) or "nothing waits for the cold tier"
    finally:
        database.close()


def restore(settings: Settings, wanted: Wanted, key: SigningKey) -> Restored:
    """Bring files back. Raises ValueError without a cold tier or when it fails; as Restore.run."""
    cold = configured(settings)
    database = open_index(settings)
    try:
        return Restore(settings, cold, database, _store(cold), key).run(wanted)
    except ColdError as error:
        raise ValueError(f"{error}: run this again to go on") from None
    finally:
        database.close()


def summary(found: Restored) -> str:
    """One line for people."""
    return (
        f"{found.restored} files restored ({format_size(found.size)}), {found.intact} were there, "
        f"{found.deleted} are deleted ones, {found.ended} have come to their end, "
        f"{found.refused} refused"
    )


def configured(settings: Settings) -> Cold:
    """The cold tier's settings. Raises ValueError when there are none."""
    if settings.cold is None:
        raise ValueError("this node has no cold tier: see `cold` in the cluster file")
    return settings.cold


def _store(cold: Cold) -> ColdStore:
    try:
        return ColdStore(cold)
    except ColdError as error:
        raise ValueError(str(error)) from None


def _status(cold: Cold, database: Database) -> str:
    queue = ColdQueue(database, cold)
    backlog = queue.backlog()
    return "\n".join(
        [
            cold.target,
            f"{queue.stored_files()} files are backed up",
            f"{backlog.waiting} wait ({format_size(backlog.waiting_bytes)})",
            f"{backlog.dead} were given up",
        ]
    )
