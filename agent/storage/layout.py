"""Which names below a node's root are the agent's own, and what they say. Pure.

What has another name was put there by somebody else and is nobody's to touch.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from portside.names import ATTRIBUTES_SUFFIX, NameRefused, sanitise
from portside.wire.fields import NAMESPACE_PATTERN

_DATED = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{2}")
_NAMESPACE = re.compile(NAMESPACE_PATTERN)


def is_place(path: str) -> bool:
    """Whether the agent could have put data at `path`, relative to `uploads`."""
    namespace, _, rest = path.partition("/")
    folder, _, name = rest.rpartition("/")
    if not _NAMESPACE.fullmatch(namespace) or (folder and not _DATED.fullmatch(folder)):
        return False
    try:
        return sanitise(name) == name
    except NameRefused:
        return False


def is_folder(path: str) -> bool:
    """Whether the agent could have made a folder at `path`, relative to `uploads`."""
    namespace, _, rest = path.partition("/")
    return _NAMESPACE.fullmatch(namespace) is not None and (
        not rest or _DATED_FOLDER.fullmatch(rest) is not None
    )


_FILE_ID = r"[0-9a-f]{32}"
_STAGED = re.compile(
    rf"({_FILE_ID}\.[0-9a-f]{{8}}\.part)(\.attr)?"
    rf"|{_FILE_ID}\.deleted\.part|{_FILE_ID}\.tombstone|\.write-check-[0-9]+"
)
_STRAY = re.compile(r"stray-[0-9a-f]{16}\.(data|attr\.json|why\.json)")
_QUARANTINED = re.compile(rf"({_FILE_ID})(\.data|{re.escape(ATTRIBUTES_SUFFIX)})")


def staged_for(name: str) -> str | None:
    """The staging file that a name in `staging` is or belongs to; None for foreign names."""
    found = _STAGED.fullmatch(name)
    return (found[1] or name) if found else None


def quarantined_id(name: str) -> str | None:
    """The id of the file that a name in `quarantine` belongs to, if it is a file's."""
    found = _QUARANTINED.fullmatch(name)
    return found[1] if found else None


def is_stray(name: str) -> bool:
    """Whether a name in `quarantine` is of something whose file isn't known."""
    return _STRAY.fullmatch(name) is not None


_DATED_FOLDER = re.compile(r"([0-9]{4})(?:/([0-9]{2})(?:/([0-9]{2})(?:/([0-9]{2}))?)?)?")
_REST = timedelta(days=1)


def is_past(folder: str, now: datetime) -> bool:
    """Whether `folder`, relative to `uploads`, is of a time that is over: no commit goes there.

    True for the dated folders whose year, month, day or hour was over a day ago. A namespace's own
    folder is never past.
    """
    namespace, _, rest = folder.partition("/")
    found = _DATED_FOLDER.fullmatch(rest)
    if not _NAMESPACE.fullmatch(namespace) or found is None:
        return False
    start = (*(int(part) for part in found.groups() if part is not None),)
    rested = (now - _REST).astimezone(UTC)
    return (rested.year, rested.month, rested.day, rested.hour)[: len(start)] > start
