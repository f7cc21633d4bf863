"""How old the newest hourly copy of the database is, as its file on this node says.

`portside-control-backup` leaves a file under a copy's name only once it was read back.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

LATE = 3 * 3600.0
"""Seconds: one is made each hour, and one that a restart swallowed is no reason to worry."""


def age(folder: Path, now: datetime) -> float | None:
    """Seconds since the newest copy was made; None: there is none, or the folder can't be read."""
    try:
        moments = [each.stat().st_mtime for each in folder.glob("control-*")]
    except OSError:
        # One that goes meanwhile has made room for a newer one: the next look finds that.
        return None
    # A clock that was set back makes no copy younger than now.
    return max(0.0, now.timestamp() - max(moments)) if moments else None
