"""`portside-agent fsck`: findings as they come, a last line that sums up, and the exit code."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable

from agent.index.database import Database
from agent.index.files import FileIndex
from agent.integrity.diagnosis import Gravity, Kind, exit_code
from agent.integrity.fsck import Fsck
from agent.integrity.fsck_areas import Orders
from agent.settings import Settings
from agent.storage.commit import Committer
from agent.storage.opening import open_index
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.health import NodeUnfit, check_write
from portside.tokens import SigningKey

FAILED = 3
"""The exit code of a run that could not be carried out to its end."""


def run(settings: Settings, orders: Orders, key: SigningKey | None, in_json: bool) -> int:
    """Look, and with the node's key mend; print what is found. The exit code is returned."""
    try:
        if key is not None:
            # A disk that takes no writes must not be mended: every step would be half a step.
            check_write(settings)
        database = open_index(settings)
        try:
            committer = None if key is None else Committer(settings, FileIndex(database), key)
            fsck = Fsck(settings, database, orders, committer)
            return _print(fsck, in_json, lambda: len(_quarantined(database)))
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        print(
            f"portside-agent: {settings.index}: {error}; if it is no database any more, "
            "`portside-agent reindex` makes a new one",
            file=sys.stderr,
        )
    except (DiskFull, DiskFailed, NodeUnfit, OSError) as error:
        print(f"portside-agent: fsck: {error}", file=sys.stderr)
    return FAILED


def _quarantined(database: Database) -> list[tuple[object, ...]]:
    """Files that were found damaged before: no finding, for nothing of them is to be mended."""
    return database.rows("SELECT 1 FROM files WHERE state = 'QUARANTINED' AND state != 'COMMITTED'")


def _print(fsck: Fsck, in_json: bool, kept: Callable[[], int]) -> int:
    counts: Counter[Kind] = Counter()
    mended = 0
    for finding in fsck.run():
        counts[finding.kind] += 1
        mended += finding.done is not None
        # Whoever watches sees each at once, and an interrupted run has told what it did.
        print(finding.as_json() if in_json else finding.line(), flush=True)
    code = exit_code({kind.gravity for kind in counts})
    if in_json:
        print(_summary_json(fsck.files, counts, mended))
    else:
        print(_summary(fsck.files, counts, kept()))
    return code


def _summary(files: int, counts: Counter[Kind], kept: int) -> str:
    found = ", ".join(f"{number} {kind.label}" for kind, number in counts.items()) or "clean"
    losses = sum(number for kind, number in counts.items() if kind.gravity is Gravity.LOSS)
    loud = f"; {losses} LOST OR DAMAGED" if losses else ""
    apart = f"; {kept} in quarantine: see `portside-agent quarantine`" if kept else ""
    return f"{files} files in order; {found}{loud}{apart}"


def _summary_json(files: int, counts: Counter[Kind], mended: int) -> str:
    by_kind = {kind.label: number for kind, number in counts.items()}
    return json.dumps({"summary": {"files_in_order": files, "found": by_kind, "mended": mended}})
