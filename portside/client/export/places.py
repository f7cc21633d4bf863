"""Where each file goes in the folder: at its path in the cluster, as far as that can be here.

Paths come from elsewhere: none leads out of the folder, hides, or can't be shown. Two files that
have one path, on two nodes or because this disk knows no capitals, get one each.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from portside import durable_file, names
from portside.client.http.errors import LocalFileError
from portside.client.upload.body import sha256_of
from portside.content import split_extension
from portside.wire.control import FileView

_UNNAMED = "unnamed"

_DEEPEST = 8
"""Parts of a path: a namespace, a date and an hour, a name, and two to spare."""


def wanted_path(view: FileView) -> PurePosixPath:
    """A file's path below the folder, before it is known whether that is free. Pure."""
    parts = view.path.parts if view.path is not None else ()
    *folders, name = parts[-_DEEPEST:] or (view.file_id,)
    safe = [each if _is_plain(each) else _UNNAMED for each in folders or [view.namespace]]
    return PurePosixPath(*safe, name if _is_plain(name) else view.file_id)


def beside(path: PurePosixPath, view: FileView) -> PurePosixPath:
    """The path of a file whose own is another's: with the beginning of its id. Pure."""
    stem, extension = split_extension(path.name)
    suffix = f"~{view.file_id[:12]}"
    stem = names.truncate(stem, spare=len(suffix) + len(extension.encode()))
    return path.with_name(stem + suffix + extension)


def _is_plain(part: str) -> bool:
    return (
        part.isprintable()
        and not part.startswith((".", "~"))
        and "/" not in part
        and "\\" not in part
        and len(part.encode()) <= 255
    )


class Places:
    """The paths that files of one run have got. `of` may be asked by several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._taken: set[str] = set()

    def take(self, view: FileView) -> tuple[PurePosixPath, ...]:
        """The paths that a file may get, the better one first: none that is another's."""
        wanted = wanted_path(view)
        other = beside(wanted, view)
        if self._take(wanted):
            return wanted, other
        return (other,) if self._take(other) else ()

    def of(self, view: FileView, paths: Sequence[PurePosixPath]) -> tuple[PurePosixPath, bool]:
        """The file's path below the folder, one of those that it has taken, and whether it is there
        already, with its content.

        Raises LocalFileError.
        """
        wanted = wanted_path(view)
        for path in paths:
            place = self._folder / path
            try:
                if not os.path.lexists(place):
                    self._make_folders(path.parent)
                    return path, False
                if is_there(place, view):
                    return path, True
            except OSError as error:
                raise LocalFileError(f"{place}: {error.strerror}") from None
        raise LocalFileError(
            f"{self._folder / wanted}: other content is there, and at {beside(wanted, view).name} "
            "too: move them away"
        )

    def plan(self, view: FileView) -> PurePosixPath:
        """The path that a file would get in an empty folder."""
        wanted = wanted_path(view)
        return wanted if self._take(wanted) else beside(wanted, view)

    def _take(self, path: PurePosixPath) -> bool:
        # As a disk sees it that knows no capitals.
        key = str(path).casefold()
        is_free = key not in self._taken
        self._taken.add(key)
        return is_free

    def _make_folders(self, folders: PurePosixPath) -> None:
        level = self._folder
        for part in folders.parts:
            level = level / part
            try:
                level.mkdir()
            except FileExistsError:
                continue
            _sync(level.parent)
        if not level.resolve().is_relative_to(self._root):
            raise LocalFileError(f"{level}: is a link that leads out of {self._folder}")


def is_there(place: Path, view: FileView) -> bool:
    """Whether the very file lies at `place`: its bytes are read. Raises OSError."""
    found = place.lstat()
    return place.is_file() and found.st_size == view.size and sha256_of(place) == view.sha256


def _sync(folder: Path) -> None:
    try:
        durable_file.sync_directory(folder)
    except OSError as error:
        # Some filesystems (CIFS, several of FUSE) have no fsync of folders.
        if error.errno != errno.EINVAL:
            raise
