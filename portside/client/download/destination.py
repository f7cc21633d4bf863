"""Where a download is put: under which name, or into which stream.

A name from elsewhere never leads out of a folder, nor hides, and where the disk can't have it the
nearest one that it can have is taken, before a byte is fetched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from portside import names
from portside.client.download.partial import PartialFile
from portside.client.download.passing import PassingOutput
from portside.client.http.errors import LocalFileError
from portside.wire.control import FileView

_STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")

_NEVER_ON_FAT = re.compile(r'[<>:"|?*\\]')
"""vfat, exFAT and NTFS take none of these; nor a dot or a space at the end."""

_SURELY_FITS = 143
"""Bytes of a name on eCryptfs, the least of what Linux has; 255 elsewhere."""

_UNFIT = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


def stream_of(given: str | None, force: bool) -> PassingOutput | None:
    """The stream that `-o` names, open: `-`, a pipe, a device; None where it names a file.

    A disk is written over with `force` only. Raises LocalFileError.
    """
    if given is None:
        return None
    number = _descriptor_of(given)
    try:
        if number is not None:
            # Not opened by its path: that would begin at a redirected file's first byte again.
            return PassingOutput(os.dup(number), "standard output" if number == 1 else given)
        mode = Path(given).stat().st_mode
        if stat.S_ISBLK(mode) and not force:
            raise LocalFileError(f"{given}: is a disk: --force writes over what is on it")
        if stat.S_ISSOCK(mode):
            raise LocalFileError(f"{given}: is a socket, which can't be written as a file")
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            return None
        return PassingOutput(os.open(given, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), given)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        raise LocalFileError(f"{given}: {error.strerror}") from None


def is_standard(given: str) -> bool:
    """Whether `-o` names one of this process's own streams."""
    return _descriptor_of(given) is not None


def path_of(given: str | None, view: FileView) -> Path:
    """The path that the file gets: `-o` itself, or in the folder it names, or in the current one.

    Raises LocalFileError for one that can't be.
    """
    if given == "":
        raise LocalFileError("-o: names nothing: is a variable of the script empty?")
    path = Path(given or ".")
    reason = _unfit(path)
    if reason is not None:
        raise LocalFileError(f"{path}: can't be a name there ({reason}): choose another one")
    if path.is_dir():
        return path / _name_in(path, view)
    if given is not None and given.endswith("/"):
        raise LocalFileError(f"{given}: there is no such folder: make it first")
    if not path.parent.is_dir():
        raise LocalFileError(f"{path}: there is no folder {path.parent}: make it first")
    return path


def file_at(path: Path, view: FileView, *, replaces: bool) -> PartialFile:
    """What brings the file to `path`, through a link to where it leads, as programs write."""
    return PartialFile(
        path.resolve() if path.is_symlink() else path, view.file_id, replaces=replaces
    )


def _descriptor_of(given: str) -> int | None:
    numbered = _DESCRIPTOR.fullmatch(given)
    return int(numbered[1]) if numbered else _STANDARD.get(given)


def _name_in(folder: Path, view: FileView) -> str:
    """The file's name, or the first that is like it and can be in the folder."""
    return next((name for name in _candidates(view) if _unfit(folder / name) is None), view.file_id)


def _candidates(view: FileView) -> Iterator[str]:
    name = view.name or view.file_id
    if "/" in name or name.startswith(".") or not name.isprintable():
        return
    plain = _NEVER_ON_FAT.sub("_", name).rstrip(". ")
    yield name
    yield names.truncate(name)
    yield names.truncate(plain)
    yield names.truncate(plain, spare=names.MAX_NAME_BYTES - _SURELY_FITS)


def _unfit(path: Path) -> str | None:
    """Why a file can't have this name on its filesystem; None if it can."""
    name = path.name
    sure = len(os.fsencode(name)) <= _SURELY_FITS and name.rstrip(". ") == name
    if sure and not _NEVER_ON_FAT.search(name):
        return None
    try:
        # Only making one tells: vfat finds nothing wrong with looking for such a name.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        path.unlink()
    except OSError as error:
        return error.strerror if error.errno in _UNFIT else None
    return None
