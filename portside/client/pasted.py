"""Keys and tokens as people hand them over: out of a file that some program wrote, or pasted.

Windows' shells put a byte order mark before what they write, or write UTF-16; `docker --env-file`
keeps the quotes of an environment file; a header is copied with its name. None of that can be part
of a key or token, so it is left out.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_HEADER = re.compile(r"(?:authorization:\s*)?bearer\s+", re.IGNORECASE)


def secret_in(path: Path) -> str:
    """The key or token that a file holds. Raises OSError, and ValueError for what is no text."""
    content = path.read_bytes()
    try:
        return secret_of(content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text file: it should hold one word alone") from None


def secret_of(text: str) -> str:
    """The key or token in a text, without what belongs to how it was kept."""
    return _HEADER.sub("", unquoted(text), count=1)


def unquoted(text: str) -> str:
    """A value without a byte order mark, space and an environment file's quotes around it."""
    value = text.strip().removeprefix("\ufeff").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value
