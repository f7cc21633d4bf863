"""Reading a file for its digest: every length, around the page cache, in one buffer."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agent.storage.verification import PIECE, hash_file, pieces


@pytest.mark.parametrize(
    "size",
    [0, 1, 511, 512, 4095, 4096, 4097, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5],
)
def test_a_file_of_any_length_has_the_digest_hashlib_gives_it(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    found = hash_file(tmp_path / "a")
    assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), size)


def test_reading_can_begin_in_the_middle(tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE + 5)
    (tmp_path / "a").write_bytes(data)
    assert (
        b"".join(bytes(piece) for piece in pieces(tmp_path / "a", 2 * PIECE)) == data[2 * PIECE :]
    )
    assert list(pieces(tmp_path / "a", 4 * PIECE)) == []


def test_the_pace_hears_of_every_byte_and_may_stop(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * PIECE + 7))
    heard: list[int] = []
    hash_file(tmp_path / "a", heard.append)
    assert heard == [PIECE, PIECE, 7]

    def stop(read: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        hash_file(tmp_path / "a", stop)
    assert not [link for link in Path("/proc/self/fd").iterdir() if _points_to(link, tmp_path)]


def _points_to(link: Path, folder: Path) -> bool:
    try:
        return str(link.readlink()).startswith(str(folder))
    except FileNotFoundError:
        return False


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(OSError, match="symbolic"):
        hash_file(tmp_path / "link")


def test_a_filesystem_without_direct_io_is_read_through_the_cache() -> None:
    # procfs refuses O_DIRECT, and tells no size before it is read.
    expected = Path("/proc/version").read_bytes()
    assert hash_file(Path("/proc/version")).sha256 == hashlib.sha256(expected).hexdigest()
