"""Directories that survive a power cut: each new level and each changed one is synced.

A file's name lives in its directory: without fsync there, a renamed file may come back under its
old name, or not at all (fsync(2)).
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError; a failure is final."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(root: Path, relative: PurePosixPath) -> None:
    """Make every missing level of `relative` below `root`, durably. Raises OSError.

    Two uploads may make the same level at once: either finds it there and goes on.
    """
    level = root
    for part in relative.parts:
        level = level / part
        try:
            level.mkdir(mode=0o750)
        except FileExistsError:
            continue
        sync_directory(level.parent)
