"""From a user's file name to a safe path on a node: sanitising, truncation, the two layouts.

Pure: a name in, a relative path out. A name that tries to be a path is refused, never repaired:
whoever sends `../../etc/passwd` should hear so instead of finding `etcpasswd` later.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import PurePosixPath

from portside.content import extension_of

MAX_NAME_CHARACTERS = 200
MAX_NAME_BYTES = 240
"""A directory entry holds 255 bytes (ext4, xfs); `.attr.json` beside it needs some of them."""

ATTRIBUTES_SUFFIX = ".attr.json"

NAMESPACE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"

_UNSAFE = re.compile(r"[^\w.+=@~-]+", re.UNICODE)


class NameRefused(ValueError):
    """A file name that can't be taken; the message says why, in words for its sender."""


def sanitise(name: str) -> str:
    """A user's file name as a name that is safe on disk, in a URL and in a shell.

    Letters and digits of every script stay; spaces and punctuation become `_`; leading dots go (no
    hidden files); more than 200 characters are cut from the stem, the extension stays.
    Raises NameRefused for names with path separators or control characters, for reserved names,
    and for names of which nothing is left.
    """
    if any(separator in name for separator in "/\\"):
        raise NameRefused("a file name must not contain '/' or '\\': send the name alone, no path")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise NameRefused("a file name must not contain control characters")
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).lstrip(".")
    if not safe.strip("._"):
        raise NameRefused("a file name needs at least one letter or digit")
    if safe.lower().endswith(ATTRIBUTES_SUFFIX):
        raise NameRefused(f"names that end in {ATTRIBUTES_SUFFIX} are kept for the node's own")
    return truncate(safe)


def truncate(name: str, spare: int = 0) -> str:
    """`name` cut to 200 characters (and 240 UTF-8 bytes) less `spare`, the extension kept."""
    extension = name[len(name) - len(extension_of(name)) :]
    if len(extension) > 32:
        extension = ""
    stem = name[: len(name) - len(extension)]
    limit = MAX_NAME_CHARACTERS - spare - len(extension)
    stem = stem[:limit]
    while len((stem + extension).encode()) > MAX_NAME_BYTES - spare:
        stem = stem[:-1]
    return stem + extension


def dated_path(
    namespace: str, name: str, owner: str, file_id: str, moment: datetime
) -> PurePosixPath:
    """`<namespace>/YYYY/MM/DD/HH/<stem>_<owner>_<YYYYmmddTHHMMSS>_<id8>.<ext>`, `moment` in UTC.

    Never collides in practice: the file id's first eight characters are in it.
    """
    utc = moment.astimezone(UTC)
    safe = sanitise(name)
    extension = safe[len(safe) - len(extension_of(safe)) :]
    suffix = f"_{safe_owner(owner)}_{utc:%Y%m%dT%H%M%S}_{file_id[:8]}"
    cut = truncate(safe, spare=len(suffix))
    stem = cut[: len(cut) - len(extension)] if extension else cut
    return PurePosixPath(namespace, f"{utc:%Y/%m/%d/%H}", f"{stem}{suffix}{extension}")


def named_path(namespace: str, name: str) -> PurePosixPath:
    """`<namespace>/<name>`: the URL is known before the upload; a taken name is a conflict."""
    return PurePosixPath(namespace, sanitise(name))


def safe_owner(owner: str) -> str:
    """A token's `sub` as a part of a file name: at most 40 ASCII characters, never empty."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", owner).strip("-")[:40] or "anonymous"


def attributes_path(path: PurePosixPath) -> PurePosixPath:
    """Where the attributes of the file at `path` are: beside it."""
    return path.with_name(path.name + ATTRIBUTES_SUFFIX)
