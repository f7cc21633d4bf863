"""From a user's file name to a safe path on a node: sanitising, truncation, the two layouts.

Pure: a name in, a relative path out. A name that tries to be a path is refused, never repaired:
whoever sends `../../etc/passwd` should hear so instead of finding `etcpasswd` later.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import PurePosixPath

from portside.content import split_extension

MAX_NAME_CHARACTERS = 200
MAX_NAME_BYTES = 240
"""A directory entry holds 255 bytes (ext4, xfs); `.attr.json` beside it needs some of them."""

ATTRIBUTES_SUFFIX = ".attr.json"

CANARY = "portside-canary"
"""Namespace and owner of the files by which a deploy sees that a node works. Each lives for a
moment, and nobody is told of it."""

_LONGEST_EXTENSION = 32
"""What is longer behind the last dot is text, not an extension: it may be cut."""

_PUNCTUATION = frozenset("_.+=@~-")


class NameRefused(ValueError):
    """A file name that can't be taken; the message says why, in words for its sender."""


def sanitise(name: str) -> str:
    """A user's file name as a name that is safe on disk, in a URL and in a shell.

    Letters, marks and digits of every script stay; spaces and punctuation become `_`; leading dots
    (no hidden files) and dashes (no options) go; more than 200 characters are cut from the stem,
    the extension stays. A name that is safe already stays as it is.
    Raises NameRefused for names with path separators or control characters, for reserved names,
    and for names of which nothing is left.
    """
    if any(separator in name for separator in "/\\"):
        raise NameRefused("a file name must not contain '/' or '\\': send the name alone, no path")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise NameRefused("a file name must not contain control characters")
    kept = (c if _is_safe(c) else " " for c in unicodedata.normalize("NFC", name))
    # Dots and spaces at the end are no part of a name on Windows, and would hide the extension.
    whole = "".join(kept).rstrip(" .")
    safe = truncate(re.sub(" +", "_", whole).lstrip(".-")).rstrip(".")
    # What is judged is the name as it will be on disk: cutting must not bring a bad one about.
    if not any(character.isalnum() for character in safe):
        raise NameRefused("a file name needs at least one letter or digit")
    if safe.lower().endswith(ATTRIBUTES_SUFFIX):
        raise NameRefused(f"names that end in {ATTRIBUTES_SUFFIX} are kept for the node's own")
    return safe


def _is_safe(character: str) -> bool:
    # Marks are vowels in many scripts: without them a Hindi or Thai name can't be read.
    return (
        character.isalnum()
        or character in _PUNCTUATION
        or unicodedata.category(character).startswith("M")
    )


def truncate(name: str, spare: int = 0) -> str:
    """`name` cut to 200 characters (and 240 UTF-8 bytes) less `spare`, the extension kept."""
    stem, extension = _split(name)
    return _cut(stem, extension, spare) + extension


def _split(name: str) -> tuple[str, str]:
    stem, extension = split_extension(name)
    return (stem, extension) if len(extension) <= _LONGEST_EXTENSION else (name, "")


def _cut(stem: str, extension: str, spare: int) -> str:
    stem = stem[: MAX_NAME_CHARACTERS - spare - len(extension)]
    while len((stem + extension).encode()) > MAX_NAME_BYTES - spare:
        stem = stem[:-1]
    return stem


def dated_path(
    namespace: str, name: str, owner: str, file_id: str, moment: datetime
) -> PurePosixPath:
    """`<namespace>/YYYY/MM/DD/HH/<stem>_<owner>_<YYYYmmddTHHMMSS>_<id8>.<ext>`, `moment` in UTC.

    Never collides in practice: the file id's first eight characters are in it.
    """
    utc = moment.astimezone(UTC)
    stem, extension = _split(sanitise(name))
    suffix = _suffix(owner, file_id, utc)
    stem = _cut(stem, extension, spare=len(suffix))
    return PurePosixPath(namespace, f"{utc:%Y/%m/%d/%H}", f"{stem}{suffix}{extension}")


def named_path(namespace: str, name: str) -> PurePosixPath:
    """`<namespace>/<name>`: the URL is known before the upload; a taken name is a conflict."""
    return PurePosixPath(namespace, sanitise(name))


def name_of_dated(path: PurePosixPath, owner: str, file_id: str, moment: datetime) -> str:
    """The name that `dated_path` has made this path of; a long one as it was cut."""
    stem, _, extension = path.name.rpartition(_suffix(owner, file_id, moment.astimezone(UTC)))
    return stem + extension


def _suffix(owner: str, file_id: str, utc: datetime) -> str:
    return f"_{safe_owner(owner)}_{utc:%Y%m%dT%H%M%S}_{file_id[:8]}"


def safe_owner(owner: str) -> str:
    """A token's `sub` as a part of a file name: at most 40 ASCII characters, never empty."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", owner).strip("-")[:40] or "anonymous"


def attributes_path(path: PurePosixPath) -> PurePosixPath:
    """Where the attributes of the file at `path` are: beside it."""
    return path.with_name(path.name + ATTRIBUTES_SUFFIX)
