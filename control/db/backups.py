"""How old the newest backup of the database is (`portside-control-backup`, each hour)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

_BACKUPS = (".sqlite", ".dump")
"""What `portside-control-backup` makes."""


def age(folder: Path | None, now: datetime) -> float | None:
    """Seconds since the newest backup, or since the folder was made if there is none.

    None where the database is somebody else's to back up. A folder that can't be read, or is gone,
    is as good as no backup at all: then the age counts from 1970.
    """
    if folder is None:
        return None
    try:
        # Hidden ones are being made.
        times = [each.stat().st_mtime for each in folder.glob("[!.]*") if each.suffix in _BACKUPS]
        newest = max(times, default=folder.stat().st_mtime)
    except OSError:
        newest = 0.0
    return max(0.0, now.timestamp() - newest)
