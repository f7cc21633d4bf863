"""What a start does before the first request: is the disk there, and what did the last run leave?

Commits that had begun are finished or undone, deletions and moves to quarantine finished; staging
files that no process writes are removed. What a full disk has no room for is done with that of the
reserve (`agent.storage.reserve`), and left for the next start when it is used up: no reason not to
serve and delete what is there. Each finding is a log line: an operator should see after a
crash, or a move to another disk, that nothing acknowledged is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from agent.host import filesystem
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.commit import Committer
from agent.storage.deletion import finish_deletions
from agent.storage.ending import finish_endings
from agent.storage.holds import finish_holds
from agent.storage.permissions import close_private
from agent.storage.quarantine import finish_quarantines
from agent.storage.reserve import Reserve
from agent.storage.staging import (
    ATTRIBUTES_SUFFIX,
    SUFFIX,
    DiskFull,
    is_live,
    remove_abandoned,
)
from agent.telemetry.health import WRITE_CHECK, check_marker, check_write
from portside.names import attributes_path
from portside.tokens import ADOPTION_TYPE, TokenRefused, unverified_header

_log = structlog.get_logger()


def recover(settings: Settings, database: Database, index: FileIndex, committer: Committer) -> None:
    """Bring the node to a clean state. Raises NodeUnfit or DiskFailed when it can't."""
    check_marker(settings)
    disk = filesystem.of(settings.root)
    _log.info("filesystem examined", kind=disk.kind, lacks=disk.lacks)
    check_write(settings)
    close_private(settings)
    _log.info(
        "data directory ready: it is this node's, its folders are there, a file was written to it",
        path=str(settings.root),
        uploads=str(settings.uploads),
        writable=True,
        free=shutil.disk_usage(settings.root).free,
    )
    # What gives room back goes first.
    swept, freed = sweep_staging(settings, database)
    deletions = _as_far_as_possible(lambda: finish_deletions(settings, database))
    # Those of a batch at the most; the worker goes on with what a rebuilt index has.
    _as_far_as_possible(lambda: finish_endings(settings, database))
    finished, undone = replay(settings, index, committer)
    quarantines = _as_far_as_possible(lambda: finish_quarantines(settings, database))
    holds = _as_far_as_possible(lambda: finish_holds(settings, database))
    again, more = sweep_staging(settings, database)
    if index.is_empty() and any(settings.uploads.iterdir()):
        _log.warning("files are not indexed: run `portside-agent reindex`")
    _log.info(
        "storage recovered",
        commits_finished=finished,
        commits_undone=undone,
        deletions_finished=deletions,
        quarantines_finished=quarantines,
        holds_finished=holds,
        staging_removed=swept + again,
        bytes_freed=freed + more,
    )


def tell_what_is_there(database: Database) -> None:
    """A line in the log with what the node holds: to be compared with what one remembers.

    Raises sqlite3.Error.
    """
    ((count, size),) = database.rows(
        "SELECT count(*), total(size) FROM files WHERE state = 'COMMITTED'"
    )
    newest = database.row("SELECT max(committed_at) FROM files WHERE state = 'COMMITTED'")
    moment = None if newest is None or newest[0] is None else newest[0] // 1_000_000
    _log.info(
        "stored files counted",
        files=count,
        bytes=int(size),
        newest=None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(),
    )


def _as_far_as_possible(work: Callable[[], int]) -> int:
    try:
        return work()
    except DiskFull as error:
        _log.error("the disk is full: left for the next start", reason=str(error))
        return 0


def replay(
    settings: Settings, index: FileIndex, committer: Committer, adopting: Committer | None = None
) -> tuple[int, int]:
    """Finish or undo commits that no process is at any more: how many. Raises DiskFailed.

    Those of adopted files are `adopting`'s to finish, if that is given.
    """
    finished = undone = 0
    reserve = Reserve(settings)
    for intent in index.pending():
        staging = settings.staging / intent.staging
        if is_live(staging):
            # A process that drains after a reload is at this very commit.
            continue
        try:
            by = adopting if adopting is not None and _is_adoption(intent) else committer
            if reserve.spend(partial(settle, settings, index, by, intent)):
                finished += 1
            else:
                undone += 1
        except DiskFull as error:
            _log.error(
                "the disk is full: commit left", path=str(intent.stored.path), why=str(error)
            )
    return finished, undone


def _is_adoption(intent: Intent) -> bool:
    try:
        return unverified_header(intent.upload_token or "").get("typ") == ADOPTION_TYPE
    except TokenRefused:
        return False


def settle(settings: Settings, index: FileIndex, committer: Committer, intent: Intent) -> bool:
    """Finish a commit that no process is at any more, or undo it; whether it was finished."""
    if _finished(settings, committer, intent):
        return True
    _undo(settings, index, intent)
    return False


def _finished(settings: Settings, committer: Committer, intent: Intent) -> bool:
    if not _can_finish(settings, intent):
        return False
    try:
        committer.finish(intent)
    except FileExistsError:
        # Another file had the name first: the cut commit would have found that next.
        return False
    return True


def _can_finish(settings: Settings, intent: Intent) -> bool:
    """The data was durable before the intent was written: it is in one place or the other."""
    for place in (settings.staging / intent.staging, settings.uploads / intent.stored.path):
        try:
            if place.stat().st_size == intent.stored.size:
                return True
        except FileNotFoundError:
            continue
    return False


def _undo(settings: Settings, index: FileIndex, intent: Intent) -> None:
    _log.warning("commit undone", file_id=intent.stored.file_id, path=str(intent.stored.path))
    _remove_attributes(settings, intent)
    (settings.staging / intent.staging).unlink(missing_ok=True)
    index.roll_back(intent.stored.file_id)


def _remove_attributes(settings: Settings, intent: Intent) -> None:
    """Remove this upload's attributes, never those of a file that has its place."""
    path = settings.uploads / attributes_path(intent.stored.path)
    if not path.exists():
        return
    if Attributes.model_validate_json(path.read_bytes()).file_id == intent.stored.file_id:
        path.unlink()


def sweep_staging(settings: Settings, database: Database) -> tuple[int, int]:
    """Remove staging files that nobody writes and nothing will go on with: (files, bytes)."""
    files = freed = 0
    for path in settings.staging.iterdir():
        if path.name.startswith(WRITE_CHECK):
            # Its removal was not synced: a power cut may have brought it back.
            path.unlink(missing_ok=True)
            continue
        if _belongs_to_other(path):
            continue
        size = _allocated(path)
        if remove_abandoned(path, lambda name: is_needed(database, name)):
            files, freed = files + 1, freed + size
            _log.info("staging file removed", name=path.name, bytes=size)
    return files, freed


def is_needed(database: Database, staging: str) -> bool:
    """Whether a commit that has begun or an upload that may go on is in this staging file."""
    return (
        database.row(
            "SELECT 1 FROM files WHERE staging = ? AND state = 'PENDING' AND state != 'COMMITTED'",
            (staging,),
        )
        or database.row("SELECT 1 FROM uploads WHERE staging = ? AND state = 'OPEN'", (staging,))
    ) is not None


def _belongs_to_other(path: Path) -> bool:
    """Not a staging file, or the attributes of one that is still there and goes first."""
    if path.name.endswith(ATTRIBUTES_SUFFIX):
        return path.with_name(path.name.removesuffix(ATTRIBUTES_SUFFIX) + SUFFIX).exists()
    return not path.name.endswith(SUFFIX)


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
