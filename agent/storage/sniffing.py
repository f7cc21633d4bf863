"""Does the content fit the name? Looks at a file's first bytes before the rest is taken.

Three rules. What a browser would run must not hide behind a harmless extension; a program must not
pass for a picture, a recording or a document; and where an extension promises a well-known
signature, content that is known for something else pretends. All else passes, and with it what
nothing is known of: a node stores, no more. An XML document is no surprise under the name of a
format that is XML, which only an operator can have listed.
"""

from __future__ import annotations

import codecs
import mimetypes
import re

import puremagic

from agent.storage.signatures import (
    BZIP2,
    DISC,
    DISK,
    GIF,
    GZIP,
    HEAD_SIZE,
    JPEG,
    PDF,
    PNG,
    PROGRAM,
    QCOW2,
    SEVEN_ZIP,
    TEXT,
    XZ,
    ZIP,
    Kind,
    kind_of,
)
from portside.content import (
    COMPOUND_EXTENSIONS,
    PASSIVE_EXTENSIONS,
    SCRIPT_EXTENSIONS,
    TEXT_EXTENSIONS,
    XML_EXTENSIONS,
    extension_of,
)

__all__ = ["HEAD_SIZE", "ContentRefused", "check", "media_type"]

# A byte order mark and white space may stand before (WHATWG MIME Sniffing, section 7.1).
_START = rb"\A(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*"
# Comments too. What is passed is never given back (`?>`): a head full of them is looked at once.
_COMMENTS = rb"(?>(?:<!--.*?-->[\t\n\x0c\r ]*)*)"
_ENDED = rb"(?=[\s>/?]|\Z)"

# What makes content a page, whatever it is labelled as.
_PAGE = re.compile(
    _START
    + _COMMENTS
    + rb"<(?:(?P<html>!doctype\s+html|html|head|body|script|iframe)|(?P<svg>!doctype\s+svg|svg)"
    + rb"|(?P<xml>\?xml|x:xml))"
    + _ENDED,
    re.IGNORECASE | re.DOTALL,
)
# What a browser takes for one only where it is not labelled (the same section). In a text, which
# every browser shows as it is, it is somebody's notes, or a table's first cell.
_PIECE = re.compile(
    _START + rb"<(?:!--|(?:h1|div|font|table|a|style|title|b|br|p)" + _ENDED + rb")",
    re.IGNORECASE,
)
_PAGE_NAMES = {"html": "an HTML page", "svg": "an SVG picture", "xml": "an XML document"}

_UTF_16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

# Extension -> what content may be under it. Only formats that always carry their signature.
_SIGNED: dict[str, tuple[Kind, ...]] = {
    # Hybrid images, Apple's and those of drives are called so too.
    ".iso": (DISC, DISK),
    ".png": (PNG,),
    ".jpg": (JPEG,),
    ".jpeg": (JPEG,),
    ".gif": (GIF,),
    ".pdf": (PDF,),
    ".zip": (ZIP,),
    ".7z": (SEVEN_ZIP,),
    ".gz": (GZIP,),
    ".tgz": (GZIP,),
    ".xz": (XZ,),
    ".bz2": (BZIP2,),
    ".qcow2": (QCOW2,),
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
    """Content that doesn't fit its name: the message says what it is and what to do."""


def check(name: str, head: bytes) -> None:
    """Compare a file's first bytes with its name. Raises ContentRefused."""
    extension = extension_of(name)
    page = None if extension in SCRIPT_EXTENSIONS else _page(head, extension in TEXT_EXTENSIONS)
    is_promised = page == _PAGE_NAMES["xml"] and extension in XML_EXTENSIONS
    if page is not None and not is_promised:
        raise ContentRefused(
            f"the content is {page}, which a browser may run: it is not taken under a name that "
            f"ends in {extension}; send it in an archive, for example a .zip"
        )
    last = "." + extension.rpartition(".")[2] if extension in COMPOUND_EXTENSIONS else extension
    promised = _SIGNED.get(last)
    if promised is None:
        _must_not_be_program(extension, head)
    elif not any(kind.is_like(head) for kind in promised):
        _must_not_pretend(extension, promised[0], head)


def media_type(name: str) -> str:
    """The media type a file is labelled with, from its name alone."""
    extension = extension_of(name)
    known = _MEDIA_TYPES.get(extension)
    return known or mimetypes.guess_type(f"x{extension}")[0] or "application/octet-stream"


def _page(head: bytes, in_text: bool) -> str | None:
    """What of the things that a browser runs the content is, with its article."""
    readable = _as_text(head)
    found = _PAGE.match(readable)
    if found is not None:
        return _PAGE_NAMES[found.lastgroup or "html"]
    return _PAGE_NAMES["html"] if not in_text and _PIECE.match(readable) else None


def _as_text(head: bytes) -> bytes:
    """The first characters in an encoding that holds ASCII as it is."""
    encoding = _UTF_16_MARKS.get(head[:2])
    return head if encoding is None else head[2:].decode(encoding, "replace").encode()


def _must_not_be_program(extension: str, head: bytes) -> None:
    if extension in PASSIVE_EXTENSIONS and PROGRAM.is_like(head) and not TEXT.is_like(head):
        raise ContentRefused(
            f"the content is {PROGRAM.name}, and the name ends in {extension}: send the right "
            "file, or name it after what it holds"
        )


def _is_known_as(extension: str, head: bytes) -> bool:
    """A second opinion, for variants that only puremagic knows. It may let in, never refuse: of
    content that it doesn't know it names whatever comes near.
    """
    if TEXT.is_like(head) or PROGRAM.is_like(head):
        return False
    try:
        return any(match.extension == extension for match in puremagic.magic_string(head))
    except (puremagic.PureError, ValueError):
        # puremagic's way to say that it knows no such content, or that there is none.
        return False


def _must_not_pretend(extension: str, promised: Kind, head: bytes) -> None:
    wanted = f"{promised.name}, as a name ending in {extension} promises"
    if not head:
        raise ContentRefused(
            f"the file is empty, and no {wanted.partition(' ')[2]}: look whether it is complete"
        )
    found = kind_of(head)
    # Encrypted, damaged or of a kind that nobody here knows: no pretence.
    if found is None or _is_known_as("." + extension.rpartition(".")[2], head):
        return
    if not found.endings:
        todo = "look whether this is the right file"
    else:
        todo = f"name it after what it holds, ending in {' or '.join(found.endings)}"
    raise ContentRefused(f"the content is {found.name}, not {wanted}: {todo}")
