"""The index's database leaves nothing open behind it, and lets go of nobody else's locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.index.database import Database

_BEGIN = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0).execute("BEGIN IMMEDIATE")
"""


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_was_opened_and_closed_leaves_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    Database(path).close()
    before = _descriptors()
    for _ in range(5):
        Database(path).close()
    assert _descriptors() == before


def test_one_that_is_closed_lets_go_of_no_locks_of_another(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    kept, closed = Database(path), Database(path)
    with kept.transaction():
        closed.close()
        closed.close()
        # Of another process: SQLite tells its own connections apart without the file's locks.
        told = subprocess.run(
            [sys.executable, "-c", _BEGIN, str(path)], capture_output=True, text=True
        )
    kept.close()
    assert "database is locked" in told.stderr
