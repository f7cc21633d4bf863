"""Directories that survive a power cut: each new level is synced in the one above it."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from agent.host.filesystem import Filesystem


def make_directories(
    filesystem: Filesystem, root: Path, relative: PurePosixPath, mode: int
) -> None:
    """Make every missing level of `relative` below `root`, durably. Raises OSError.

    Two uploads may make the same level at once: either finds it there and goes on.
    """
    level = root
    for part in relative.parts:
        level = level / part
        try:
            level.mkdir(mode=mode)
        except FileExistsError:
            continue
        # The process may have been started with a umask that takes more away.
        set_mode(level, mode)
        filesystem.sync_directory(level.parent)


def set_mode(place: Path, mode: int) -> None:
    """Give a file or directory this mode, and leave its setgid bit. Raises OSError."""
    found = stat.S_IMODE(place.stat().st_mode)
    if found & 0o777 == mode:
        return
    try:
        place.chmod(found & ~0o777 | mode)
    except PermissionError:
        # systemd's RestrictSUIDSGID= forbids to name the bit, even to keep it. Without it what is
        # made below is of the process's own group.
        place.chmod(mode)
