"""What a transaction did, for the log: written once it is committed, and never if it is undone.

A transaction may run several times before it is committed (`control.db.database`), or be undone
with its connection. Lines written on the way would tell of leases that nobody has.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import structlog
from sqlalchemy.orm import Session

_log = structlog.get_logger()

_TOLD = "portside_told"

Level: TypeAlias = Literal["info", "warning"]


def log_on_commit(session: Session, event: str, *, level: Level = "info", **facts: object) -> None:
    """Have `event` written to the log when this transaction is committed."""
    session.info.setdefault(_TOLD, []).append((level, event, facts))


def write_down(session: Session) -> None:
    """The transaction is committed: write what it told, in its order."""
    for level, event, facts in session.info.pop(_TOLD, ()):
        getattr(_log, level)(event, **facts)
