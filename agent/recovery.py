"""What a start does before the first request: is the disk there, and what did the last run leave?

Commits that had begun are finished or undone; staging files that no process writes are removed.
Each finding is a log line: an operator should see after a crash that nothing
acknowledged is missing.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from agent.attributes import Attributes
from agent.commit import Committer
from agent.health import check_marker, check_write
from agent.index import Index, Intent
from agent.settings import Settings
from agent.staging import ATTRIBUTES_SUFFIX, SUFFIX, is_live, remove_abandoned
from portside.names import attributes_path

_log = structlog.get_logger()


def recover(settings: Settings, index: Index, committer: Committer) -> None:
    """Bring the node to a clean state. Raises NodeUnfit, DiskFull or DiskFailed when it can't."""
    check_marker(settings)
    check_write(settings)
    finished, undone = _replay(settings, index, committer)
    swept, freed = sweep_staging(settings, index)
    if index.is_empty() and any(settings.uploads.iterdir()):
        _log.warning("files are not indexed: run `portside-agent reindex`")
    _log.info(
        "storage recovered",
        commits_finished=finished,
        commits_undone=undone,
        staging_removed=swept,
        bytes_freed=freed,
    )


def _replay(settings: Settings, index: Index, committer: Committer) -> tuple[int, int]:
    finished = undone = 0
    for intent in index.pending():
        staging = settings.staging / intent.staging
        if is_live(staging):
            # A process that drains after a reload is at this very commit.
            continue
        if _finished(settings, committer, intent):
            finished += 1
        else:
            _undo(settings, index, intent)
            undone += 1
    return finished, undone


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


def _undo(settings: Settings, index: Index, intent: Intent) -> None:
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


def sweep_staging(settings: Settings, index: Index) -> tuple[int, int]:
    """Remove staging files that no process writes and no commit needs: (files, bytes)."""
    needed = {intent.staging for intent in index.pending()}
    files = freed = 0
    for path in settings.staging.iterdir():
        if path.name in needed or _belongs_to_other(path):
            continue
        size = _allocated(path)
        if remove_abandoned(path):
            files, freed = files + 1, freed + size
            _log.info("staging file removed", name=path.name, bytes=size)
    return files, freed


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
