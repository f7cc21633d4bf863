"""Who may read a stored file, as the filesystem has it, whatever umask the process runs with.

A public namespace's files are for everybody, so that any web server may serve them; a private one's
are for the agent and for nginx, which asks it first. A held file is for the agent alone: nginx
can't open it, whatever was decided a moment before. Attributes are never served.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agent.host.directories import set_mode
from agent.settings import Settings

ATTRIBUTES_MODE = 0o640


def file_mode(settings: Settings, namespace: str, *, held: bool) -> int:
    """The mode of a file's data."""
    if held:
        return 0o600
    return 0o640 if namespace in settings.private else 0o644


def folder_mode(settings: Settings, namespace: str) -> int:
    """The mode of a namespace's folder, and of those in it."""
    return 0o750 if namespace in settings.private else 0o755


def set_data_mode(settings: Settings, namespace: str, data: Path, *, held: bool) -> None:
    """Give a file's data the mode that it is to be seen with. Raises OSError."""
    data.chmod(file_mode(settings, namespace, held=held))


def differs(settings: Settings, path: str, *, held: bool = False) -> bool:
    """Whether data or a folder, by its path below `uploads`, has another mode than it should."""
    found = os.lstat(settings.uploads / path).st_mode
    return stat.S_IMODE(found) & 0o777 != _wanted(settings, path, found, held)


def mend(settings: Settings, path: str, *, held: bool = False) -> None:
    """Give data or a folder the mode that it should have. Raises OSError."""
    place = settings.uploads / path
    set_mode(place, _wanted(settings, path, place.lstat().st_mode, held))


def close_private(settings: Settings) -> None:
    """Close the folders of namespaces that have become private: nobody passes any more.

    Raises OSError.
    """
    for namespace in settings.private:
        folder = settings.uploads / namespace
        if folder.is_dir() and not folder.is_symlink() and differs(settings, namespace):
            set_mode(folder, folder_mode(settings, namespace))


def _wanted(settings: Settings, path: str, found: int, held: bool) -> int:
    namespace = path.partition("/")[0]
    if stat.S_ISDIR(found):
        return folder_mode(settings, namespace)
    return file_mode(settings, namespace, held=held)
