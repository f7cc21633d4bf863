"""How old the running copy of the SQLite database is, as litestream tells over its socket.

The worker writes each round, so a copy that works is never older than a round and a second or two.
One that is has a reason that the log of its unit has: the place is full, away or refuses us.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from portside.web import unix_client
from portside.wire.bounds import Moment

LATE = 60.0
"""Seconds: a copy that is older is said to be late. A dozen rounds, and a restart of litestream."""


class _Database(BaseModel):
    path: str = Field(max_length=4096)
    last_sync_at: Moment | None = None


class _Listed(BaseModel):
    databases: tuple[_Database, ...] = Field(max_length=16, fail_fast=True)


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """`age` in seconds, None while there is no copy or nobody tells of it; what is wrong, if so."""

    age: float | None
    trouble: str | None


def state(socket: Path, now: datetime) -> ReplicaState:
    """How the copy is."""
    try:
        listed = _Listed.model_validate_json(unix_client.get(socket, "/list"))
    except unix_client.Silent as silent:
        return ReplicaState(None, f"replica-silent: litestream doesn't say how it is: {silent}")
    except ValidationError as error:
        said = error.errors(include_input=False)[0]["msg"]
        return ReplicaState(None, f"replica-silent: litestream's answer is none: {said}")
    synced = [each.last_sync_at for each in listed.databases if each.last_sync_at is not None]
    if not synced:
        return ReplicaState(None, "replica-late: nothing of the database was copied yet")
    # A clock that was set back makes no copy younger than now.
    age = max(0.0, (now - min(synced)).total_seconds())
    if age > LATE:
        return ReplicaState(age, f"replica-late: the database's copy is {age:.0f} s old")
    return ReplicaState(age, None)
