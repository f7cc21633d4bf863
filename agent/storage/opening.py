"""A node's disk and index, opened: what every process on a node does before anything else.

In this order, for each step may need what the one before it found: the filesystem is mounted and
this node's own; its folders are there; what it can do; the index, for which a full disk must have
room; then the reserve is filled.
"""

from __future__ import annotations

import structlog

from agent.host import filesystem
from agent.host.directories import set_mode
from agent.host.filesystem import FilesystemUnfit
from agent.index.database import Database
from agent.index.revocations import Revocations
from agent.settings import Settings
from agent.storage.reserve import PIECES, Reserve
from agent.telemetry.health import NodeUnfit, check_marker
from portside import durable_file
from portside.durable_file import NO_ROOM

_log = structlog.get_logger()


def open_index(settings: Settings) -> Database:
    """The node's index, on a disk that was looked at. A full one is no obstacle.

    Raises NodeUnfit where files would not be safe, sqlite3.Error, OSError.
    """
    check_marker(settings)
    _make_missing_folders(settings)
    reserve = Reserve(settings)
    try:
        _examine(settings, reserve)
    except FilesystemUnfit as unfit:
        raise NodeUnfit(str(unfit)) from None
    # SQLite maps a file into memory: without room for it the process would be killed.
    reserve.lend()
    database = reserve.spend(lambda: Database(settings.index))
    database.sync_log()
    if not database.hold_room():
        # Half of the reserve is worth more in the log: it is what every deletion needs.
        database.hold_room(reserve.keep(PIECES // 2) * 7 // 8)
    held = reserve.refill()
    if held < PIECES:
        _log.warning("the disk is full: less is in reserve than should be", pieces=held)
    Revocations(database).bring_in(settings.revoked)
    return database


def _make_missing_folders(settings: Settings) -> None:
    """Those that the deploy has made are left as they are. Raises NodeUnfit."""
    folders = {settings.uploads: 0o755, settings.index.parent: 0o700}
    folders |= dict.fromkeys((settings.staging, settings.quarantine, settings.ended), 0o700)
    try:
        for folder, mode in folders.items():
            if not folder.is_dir():
                folder.mkdir(mode=mode)
                set_mode(folder, mode)
                durable_file.sync_directory(settings.root)
                _log.warning("folder was missing: made", path=str(folder))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise NodeUnfit(f"{folder} can't be made: {error.strerror}") from None


def _examine(settings: Settings, reserve: Reserve) -> None:
    reserve.refill()
    folders = (settings.uploads, settings.staging, settings.quarantine, settings.ended)
    try:
        filesystem.examine(settings.root, settings.reserve, folders)
    except OSError as error:
        if error.errno in NO_ROOM or not settings.reserve.exists():
            # Full, and nothing of ours on it yet to try things on. It takes no uploads either.
            _log.warning("the disk is full: what it can do is found out at the next start")
            return
        raise NodeUnfit(f"{settings.root} can't be examined: {error.strerror}") from None
