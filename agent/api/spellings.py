"""Paths below `/uploads/` that a URL may mean, although there is nothing at the one it names.

A name is made safe before it is stored (`portside.names.sanitise`), and URLs of it are put
together, copied and encoded by others: from the name as it was, in the decomposed letters of macOS
(NFD), encoded twice, with `+` for a space, with a slash too many.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, unquote_to_bytes

from portside.names import NameRefused, sanitise

_UPLOADS = "uploads"


def spellings(uri: str) -> tuple[str, ...]:
    """The paths, the likeliest first, each once; none for what can't be a file's URL.

    `uri` is the request's target as the client sent it, one character per byte (PEP 3333).
    """
    raw = uri.partition("?")[0].partition("#")[0]
    try:
        once = unquote_to_bytes(raw.encode("latin-1")).decode()
    except UnicodeError:
        return ()
    return tuple(dict.fromkeys(_safe_paths(once, unquote(once))))


def is_storable(path: str) -> bool:
    """Whether a file can lie at a path below `/uploads/`: its name is safe as it stands."""
    return _safe_path(f"{_UPLOADS}/{path}") == path


def _safe_paths(*decoded: str) -> Iterator[str]:
    for path in decoded:
        for meant in (path, path.replace("+", " ")):
            safe = _safe_path(meant)
            if safe is not None:
                yield safe


def _safe_path(path: str) -> str | None:
    """The path of a file whose name was to be what stands at the end of `path`."""
    parts = [part for part in path.split("/") if part]
    if len(parts) < 3 or parts[0] != _UPLOADS or not {".", ".."}.isdisjoint(parts):
        return None
    *folders, name = parts[1:]
    try:
        return "/".join((*folders, sanitise(name)))
    except NameRefused:
        return None
