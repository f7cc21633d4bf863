"""What lies in a folder: regular files to be adopted, and by name what is none.

The folder is another system's, and may be hostile: links that change while they are followed,
folders nested without end, names that are no text. So every name is opened below the folder that
was opened before it, and no link is ever followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.adoption.privileges import Privileges

DEEPEST = 200
"""Folders in each other: every one is held open, and a process has 1024 handles."""

_KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISBLK, "is a block device"),
    (stat.S_ISCHR, "is a character device"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file: its name below the open folder `folder`, as it was when it was seen."""

    path: bytes
    """From the folder that was named, for people."""
    name: bytes
    folder: int
    seen: os.stat_result


@dataclass(frozen=True, slots=True)
class NoFile:
    """What isn't adopted, whatever it is named."""

    path: bytes
    why: str


@dataclass(slots=True)
class Walk:
    """Goes through a folder, in the order of names. Its own folders the node keeps to itself."""

    top: Path
    privileges: Privileges
    own: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    """Device and inode of folders that are not gone into: the node's own."""

    def __iter__(self) -> Iterator[Found | NoFile]:
        """Every entry. A folder that is `Found.folder` is open as long as its files are told.

        Raises OSError when the named folder itself can't be read.
        """
        with self.privileges.as_root():
            descriptor = os.open(self.top, _FOLDER & ~os.O_NOFOLLOW)
        try:
            device = os.fstat(descriptor).st_dev
            yield from self._folder(descriptor, b"", device, 1)
        finally:
            os.close(descriptor)

    def _folder(
        self, descriptor: int, path: bytes, device: int, depth: int
    ) -> Iterator[Found | NoFile]:
        with self.privileges.as_root():
            names = sorted(os.fsencode(each) for each in os.listdir(descriptor))
        for name in names:
            below = path + b"/" + name if path else name
            try:
                with self.privileges.as_root():
                    seen = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield NoFile(below, f"can't be looked at: {error.strerror}")
                continue
            if stat.S_ISREG(seen.st_mode):
                yield Found(below, name, descriptor, seen)
            elif not stat.S_ISDIR(seen.st_mode):
                kind = next((what for test, what in _KINDS if test(seen.st_mode)), "is no file")
                yield NoFile(below, f"{kind}: only regular files are adopted")
            elif (seen.st_dev, seen.st_ino) in self.own:
                yield NoFile(below, "is the node's own folder")
            elif seen.st_dev != device:
                yield NoFile(below, "another filesystem is mounted there: adopt it by itself")
            elif depth >= DEEPEST:
                yield NoFile(below, f"lies deeper than {DEEPEST} folders: adopt it by itself")
            else:
                yield from self._into(descriptor, name, below, device, depth)

    def _into(
        self, above: int, name: bytes, path: bytes, device: int, depth: int
    ) -> Iterator[Found | NoFile]:
        try:
            with self.privileges.as_root():
                descriptor = os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            yield NoFile(path, f"can't be read: {error.strerror}")
            return
        try:
            yield from self._folder(descriptor, path, device, depth + 1)
        except OSError as error:
            yield NoFile(path, f"can't be read: {error.strerror}")
        finally:
            os.close(descriptor)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
