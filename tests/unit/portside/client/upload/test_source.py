"""What can be sent: files and disks by their size, streams to their end, and nothing else."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from portside.client import LocalFileError
from portside.client.upload.body import OpenFile
from portside.client.upload.source import STDIN, name_of, size_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_has_the_size_it_tells(here: Path) -> None:
    (here / "some").write_bytes(b"some")
    (here / "empty").touch()
    with (here / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (here / "link").symlink_to("some")
    sizes = {name: size_of(Path(name)) for name in ("some", "empty", "sparse", "link")}
    assert sizes == {"some": 4, "empty": 0, "sparse": 1 << 30, "link": 4}


def test_what_passes_by_once_has_none_until_its_end(here: Path) -> None:
    os.mkfifo("fifo")
    for path in (STDIN, Path("fifo"), Path("/dev/null"), Path("/dev/zero")):
        assert size_of(path) is None


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/version"])
def test_the_kernels_own_files_are_streams_whatever_size_they_tell(path: str) -> None:
    assert Path(path).stat().st_size == 0
    assert size_of(Path(path)) is None


def test_a_disk_is_as_long_as_its_end_tells(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is at hand here: a file that stat(2) calls one, and tells the size 0 of."""
    (here / "disk").write_bytes(bytes(4096))
    fstat = os.fstat

    def as_a_disk(descriptor: int) -> SimpleNamespace:
        told = fstat(descriptor)
        mode = stat.S_IFBLK | stat.S_IMODE(told.st_mode)
        return SimpleNamespace(
            st_mode=mode, st_size=0, st_mtime_ns=told.st_mtime_ns, st_ino=told.st_ino
        )

    monkeypatch.setattr(os, "fstat", as_a_disk)
    with OpenFile(here / "disk") as disk:
        assert disk.size == 4096
        assert sum(len(block) for block in disk.blocks(0, 4096)) == 4096


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, r"is a folder.*tar -c x \| portside put - --name x\.tar"),
        (lambda path: path.symlink_to("gone"), "leads to gone, which isn't there"),
        (lambda path: path.symlink_to("x"), "Too many levels of symbolic links"),
        (_socket, "is a socket"),
        (lambda path: None, "not found"),
    ],
    ids=["folder", "dangling", "loop", "socket", "nothing"],
)
def test_what_is_no_file_is_told_with_what_to_do(
    here: Path, make: Callable[[Path], None], why: str
) -> None:
    make(Path("x"))
    with pytest.raises(LocalFileError, match=why):
        size_of(Path("x"))


@pytest.mark.parametrize("path", ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"])
def test_a_stream_without_a_name_of_its_own_needs_one(path: str) -> None:
    with pytest.raises(ValueError, match="say --name"):
        name_of(Path(path))


def test_a_name_in_utf_8_is_itself_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("ascii", "latin-1"):
        monkeypatch.setattr(
            os, "fsencode", lambda name, e=encoding: name.encode(e, "surrogateescape")
        )
        assert (
            name_of(Path("\u0444.iso".encode().decode(encoding, "surrogateescape"))) == "\u0444.iso"
        )
    # The last one's own.
    assert name_of(Path("caf\xe9.iso")) == "caf\xe9.iso"


def test_a_name_that_is_no_unicode_needs_another() -> None:
    with pytest.raises(ValueError, match="rename the file, or say --name"):
        name_of(Path(os.fsdecode(b"caf\xe9.iso")))
