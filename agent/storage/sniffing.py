"""Does the content fit the name? Looks at a file's first bytes before the rest is taken.

Two rules. What a browser would run must not hide behind a harmless extension; and an extension that
promises a well-known signature must have it. Everything else passes: a node stores, no more.
"""

from __future__ import annotations

import mimetypes
import re

import puremagic

from portside.content import COMPOUND_EXTENSIONS, SCRIPT_EXTENSIONS, extension_of

HEAD_SIZE = 64 * 1024
"""Bytes to look at: an ISO 9660 image is recognised at 32 KiB."""

# The tags that make a browser take unlabelled bytes for HTML, and XML beside them; a byte order
# mark and white space may stand before (WHATWG MIME Sniffing, section 7.1).
_SCRIPTABLE = re.compile(
    rb"\A(\xef\xbb\xbf)?[\t\n\x0c\r ]*"
    rb"<(!doctype\s+html|!--|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    rb"|svg|\?xml|x:xml)(?=[\s>/?]|\Z)",
    re.IGNORECASE,
)
_UTF_16_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}

# Extension -> what puremagic may answer for it. Only formats that always carry their signature.
_SIGNED: dict[str, frozenset[str]] = {
    ".iso": frozenset({".iso", ".udf"}),
    ".png": frozenset({".png"}),
    ".jpg": frozenset({".jpg", ".jpeg"}),
    ".jpeg": frozenset({".jpg", ".jpeg"}),
    ".gif": frozenset({".gif"}),
    ".pdf": frozenset({".pdf"}),
    ".zip": frozenset({".zip", ".docx", ".jar"}),
    ".7z": frozenset({".7z"}),
    ".gz": frozenset({".gz"}),
    ".tgz": frozenset({".gz"}),
    ".xz": frozenset({".xz"}),
    ".bz2": frozenset({".bz2"}),
    ".qcow2": frozenset({".qcow2"}),
}

_MEDIA_TYPES = {
    ".iso": "application/x-iso9660-image",
    ".qcow2": "application/x-qcow2",
    ".zst": "application/zstd",
    ".avif": "image/avif",
    ".webp": "image/webp",
    ".mkv": "video/x-matroska",
    ".parquet": "application/vnd.apache.parquet",
}


class ContentRefused(Exception):
    """Content that doesn't fit its name; the message says what was found."""


def check(name: str, head: bytes) -> None:
    """Compare a file's first bytes with its name. Raises ContentRefused."""
    extension = extension_of(name)
    if _SCRIPTABLE.match(_as_text(head)) and extension not in SCRIPT_EXTENSIONS:
        raise ContentRefused("the content is HTML, SVG or XML, which a browser may run")
    if extension in COMPOUND_EXTENSIONS:
        extension = "." + extension.rpartition(".")[2]
    expected = _SIGNED.get(extension)
    if expected is None:
        return
    found = _matches(head)
    if not found & expected:
        looks = f"it looks like {', '.join(sorted(found)[:3])}" if found else "nothing known"
        raise ContentRefused(f"the content is no {extension} file: {looks}")


def media_type(name: str) -> str:
    """The media type a file is labelled with, from its name alone."""
    extension = extension_of(name)
    known = _MEDIA_TYPES.get(extension)
    return known or mimetypes.guess_type(f"x{extension}")[0] or "application/octet-stream"


def _as_text(head: bytes) -> bytes:
    """The first characters in an encoding that holds ASCII as it is."""
    encoding = _UTF_16_MARKS.get(head[:2])
    return head if encoding is None else head[2:1024].decode(encoding, "replace").encode()


def _matches(head: bytes) -> frozenset[str]:
    try:
        return frozenset(
            match.extension for match in puremagic.magic_string(head) if match.extension
        )
    except (puremagic.PureError, ValueError):
        # puremagic's way to say that it knows no such content, or that there is none.
        return frozenset()
