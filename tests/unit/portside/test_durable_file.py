"""A file is replaced as a whole or not at all, and nobody else ever reads what is private."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from portside import durable_file


def test_what_was_there_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    path.write_text("old")
    durable_file.replace(path, b"new", 0o640)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_from_its_first_moment(tmp_path: Path) -> None:
    modes = []
    synced = os.fsync

    def seen(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        synced(descriptor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", seen)
        durable_file.replace(tmp_path / "node.key", b"secret", 0o600)
    assert modes[0] == 0o600
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_a_failed_sync_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "roster.json"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="I/O error"):
        durable_file.replace(path, b"new", 0o640)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_filesystem_without_fsync_of_directories_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(durable_file, "sync_directory", refuse)
    durable_file.replace(tmp_path / "login.json", b"{}", 0o600)
    assert (tmp_path / "login.json").read_bytes() == b"{}"


def test_new_means_new_also_where_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        durable_file.write(tmp_path / "link", b"", 0o600, new=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_sync_without_room_has_failed_for_good_and_is_no_reason_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no room") as of_file:
        durable_file.write(tmp_path / "a", b"a", 0o640)
    with pytest.raises(OSError, match="no room") as of_folder:
        durable_file.sync_directory(tmp_path)
    assert (of_file.value.errno, of_folder.value.errno) == (errno.EIO, errno.EIO)
