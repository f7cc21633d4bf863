"""Room is given up for what must go on, as much as it takes, and taken back."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from agent.storage import reserve
from agent.storage.reserve import PIECE, PIECES, Reserve
from agent.storage.staging import DiskFailed, DiskFull
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent


@pytest.fixture
def held(tmp_path: Path) -> Reserve:
    made = Reserve(Node(Agent(tmp_path)).settings)
    assert made.refill() == PIECES
    return made


class _Work:
    """Fails so many times before it is done."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error = failures, error

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def _sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    return error


def test_the_pieces_have_their_blocks(held: Reserve, tmp_path: Path) -> None:
    pieces = list((tmp_path / "root" / "state" / "reserve").iterdir())
    assert sum(piece.stat().st_blocks * 512 for piece in pieces) >= PIECES * PIECE


@pytest.mark.parametrize(
    "error",
    [
        DiskFull("full"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        _sqlite(sqlite3.SQLITE_FULL),
    ],
)
def test_work_is_done_again_with_more_room_each_time(held: Reserve, error: Exception) -> None:
    assert held.spend(_Work(4, error)) == "done"
    # 1, 2, 4 and 8 were given up. There is room here: they are held again.
    assert held.give_up(100) == PIECES


def test_what_lasts_is_told_once_nothing_is_left(held: Reserve) -> None:
    with pytest.raises(DiskFull, match="no reserve left"):
        held.spend(_Work(100, OSError(errno.ENOSPC, "full")))
    assert held.give_up(1) == 0


@pytest.mark.parametrize(
    "error",
    [
        DiskFailed("fsync failed"),
        OSError(errno.EIO, "broken"),
        # A failed sync is final; SQLite's others mean what they say while the disk has room.
        _sqlite(sqlite3.SQLITE_IOERR_FSYNC),
        _sqlite(sqlite3.SQLITE_IOERR_WRITE),
        _sqlite(sqlite3.SQLITE_CANTOPEN),
    ],
)
def test_no_room_is_given_up_for_what_no_room_helps(held: Reserve, error: Exception) -> None:
    with pytest.raises(type(error)):
        held.spend(_Work(1, error))
    assert held.give_up(100) == PIECES


def test_what_sqlite_says_by_detours_counts_where_the_disk_is_full(
    held: Reserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_has_room", lambda root: False)
    assert held.spend(_Work(1, _sqlite(sqlite3.SQLITE_IOERR_WRITE))) == "done"
    with pytest.raises(sqlite3.OperationalError):
        held.spend(_Work(1, _sqlite(sqlite3.SQLITE_IOERR_FSYNC)))
