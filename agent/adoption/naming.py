"""The name that a file on disk gets as a stored one, by the rules of uploads. Pure."""

from __future__ import annotations

from portside.content import SCRIPT_EXTENSIONS, extension_of, is_allowed
from portside.names import NameRefused, sanitise


def stored_name(raw: bytes, extensions: tuple[str, ...]) -> str:
    """The safe name for a file that is called `raw`. Raises NameRefused.

    Folders above it are no part of it: what is stored lies by namespace, and by date if it is to.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NameRefused(
            "its name is not UTF-8: rename it, or a whole folder with `convmv -f ENCODING -t utf8`"
        ) from None
    safe = sanitise(text)
    extension = extension_of(safe)
    if is_allowed(extension, extensions):
        return safe
    if not extension:
        raise NameRefused("its name has no extension: end it in that of what the file holds")
    runs = ", for a browser may run them" if extension in SCRIPT_EXTENSIONS else ""
    raise NameRefused(
        f"files ending in {extension} are not taken{runs}: `uploads.extensions` of the cluster "
        "file lists what is"
    )


def shown(path: bytes) -> str:
    """A path for people: it must not be able to move a cursor, and can be told from every other."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
