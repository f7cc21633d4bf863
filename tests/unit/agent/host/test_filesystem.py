"""What a filesystem can't do is found out by trying, and something as safe stands in or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.host import filesystem, linux
from agent.host.filesystem import Filesystem, FilesystemUnfit
from portside import durable_file


def _refusing(code: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


def _examined(tmp_path: Path) -> Filesystem:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return filesystem.examine(tmp_path, folder)


def test_what_is_found_is_told_from_then_on_and_nothing_is_left(tmp_path: Path) -> None:
    assert filesystem.of(tmp_path) == Filesystem()
    found = _examined(tmp_path)
    assert filesystem.of(tmp_path) is found
    assert found.kind != "unknown"
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_such_a_rename_a_link_and_an_unlink_replace_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(linux, "rename_without_replacing", _refusing(code))
    found = _examined(tmp_path)
    assert found.lacks == ("noreplace-rename",)
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("a")
    found.rename_without_replacing(source, target)
    assert (target.read_text(), source.exists()) == ("a", False)
    source.write_text("another")
    with pytest.raises(FileExistsError):
        found.rename_without_replacing(source, target)
    assert (target.read_text(), source.read_text()) == ("a", "another")


def test_a_file_with_two_names_is_never_told_of_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", _refusing(errno.ENOSPC))
    (tmp_path / "a").write_text("a")
    with pytest.raises(OSError, match="two names") as raised:
        Filesystem(noreplace_rename=False).rename_without_replacing(tmp_path / "a", tmp_path / "b")
    assert raised.value.errno == errno.EIO


def test_without_a_folders_fsync_all_of_the_filesystem_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_file, "sync_directory", _refusing(errno.EINVAL))
    found = _examined(tmp_path)
    assert found.lacks == ("directory-fsync",)
    synced: list[str] = []
    monkeypatch.setattr(
        linux,
        "sync_filesystem",
        lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink())),
    )
    found.sync_directory(tmp_path)
    assert synced == [str(tmp_path)]


@pytest.mark.parametrize(
    ("place", "missing", "code", "words"),
    [
        (linux, ("rename_without_replacing",), errno.EINVAL, "renameat2"),
        (durable_file, ("sync_directory",), errno.EINVAL, "fsync of directories"),
        (linux, ("lock_range",), errno.ENOLCK, "locks"),
    ],
)
def test_what_nothing_stands_in_for_is_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    missing: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    for name in missing:
        monkeypatch.setattr(place, name, _refusing(code))
    # Neither stand-in is there.
    monkeypatch.setattr(os, "link", _refusing(errno.EPERM))
    monkeypatch.setattr(linux, "sync_filesystem", _refusing(errno.ENOSYS))
    with pytest.raises(FilesystemUnfit, match=words) as refused:
        _examined(tmp_path)
    assert "use ext4 or xfs" in str(refused.value)


def test_a_filesystem_with_short_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def only_short_ones(source: Path, target: Path) -> None:
        if len(Path(target).name) > 143:  # eCryptfs
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        rename(source, target)

    monkeypatch.setattr(os, "rename", only_short_ones)
    with pytest.raises(FilesystemUnfit, match="names of 255 bytes"):
        _examined(tmp_path)


def test_a_broken_disk_is_no_missing_ability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "rename_without_replacing", _refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        _examined(tmp_path)


def test_folders_on_another_filesystem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FilesystemUnfit, match="another filesystem"):
        filesystem.examine(tmp_path, tmp_path, also=(Path("/proc"),))


def test_on_a_full_disk_a_file_that_is_there_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "piece").write_bytes(bytes(8192))
    make = os.open

    def full(path: str | Path, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "full")
        return make(path, flags, *rest)

    monkeypatch.setattr(os, "open", full)
    monkeypatch.setattr(linux, "rename_without_replacing", _refusing(errno.EINVAL))
    assert _examined(tmp_path).lacks == ("noreplace-rename",)
    assert len(list((tmp_path / "folder").iterdir())) == 1
