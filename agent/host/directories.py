"""Directories that survive a power cut: each new level is synced in the one above it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from agent.host.filesystem import Filesystem


def make_directories(filesystem: Filesystem, root: Path, relative: PurePosixPath) -> None:
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
        filesystem.sync_directory(level.parent)
