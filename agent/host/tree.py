"""The names below a folder, one after the other: of a million files none is held in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that has been gone through, and whether there was anything but folders below it."""

    path: str
    is_empty: bool


def walk(root: Path) -> Iterator[os.DirEntry[str] | Folder]:
    """Everything below `root` that is no folder, and each folder after what is in it.

    What goes away meanwhile is passed over, links are told and not followed. Raises OSError when a
    folder can't be read.
    """
    yield from _walk(str(root))


def _walk(folder: str) -> Iterator[os.DirEntry[str] | Folder]:
    """As `walk`, without the root itself; at its end each folder is told to be empty or not."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
                continue
            is_empty = True
            for found in _walk(entry.path):
                is_empty = is_empty and isinstance(found, Folder) and found.is_empty
                yield found
            yield Folder(entry.path, is_empty)
