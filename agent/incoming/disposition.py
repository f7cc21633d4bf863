"""The file name of a Content-Disposition, as clients write it.

RFC 6266 says how, RFC 7578 and the WHATWG's form encoding say otherwise for forms, and older
clients had ideas of their own. They can all be read alike: what each of them writes means nothing
else in the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(
    r'(?:^|;)\s*([\w!#$%&+.^`|~*-]+)\s*=\s*("(?:\\.|[^"\\])*(?:"|\\"(?=\s*(?:;|$)))|[^;]*)',
    re.ASCII,
)
"""A quoted text may end in a backslash that escapes nothing: browsers don't escape (WHATWG)."""

_EXTENDED = re.compile(r"([\w.:+-]+)'[^']*'(.+)", re.ASCII)
"""Charset, language and percent-encoded text (RFC 8187, section 3.2)."""

_ENCODED_WORDS = re.compile(r"(?:=\?[^?\s]+\?[bq]\?[^?]*\?=\s*)+", re.IGNORECASE)
"""RFC 2047, section 2: .NET and PowerShell write names so, though section 5 forbids it."""

_BROWSER_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n", "%0d": "\r", "%0a": "\n"}
"""What browsers and curl escape within quotes, and all they escape (WHATWG, form data encoding)."""

_PERCENT_ENCODED = re.compile(r"(?:[\w.~-]|%[0-9A-Fa-f]{2})+", re.ASCII)
"""As in a URL (RFC 7578, section 2), all that aiohttp sends. Nothing is left in it that would have
been encoded; where a browser's name has a `%` of its own, there mostly is."""

_CLIENT_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\[^\\]+\\)(?:[^\\]+\\)*([^\\/]+)")
"""A drive or a share and folders: old browsers send where the file was on their machine."""


def disposition_name(value: str, charset: str | None = None) -> str | None:
    """The file name of a Content-Disposition, None where there is none that can be read.

    `value` is as WSGI has it, a character for each byte (PEP 3333). The extended form is taken
    first (RFC 6266, section 4.3). `charset` is what the name's bytes are in if they are not UTF-8
    (RFC 7578, section 4.6); without it such a name can't be read.
    """
    parameters = disposition_parameters(value)
    extended = _extended(parameters.get("filename*", ""))
    if extended:
        return extended
    plain = parameters.get("filename")
    return _plain(plain, charset) if plain else None


def disposition_parameters(value: str) -> Mapping[str, str]:
    """The parameters by their names in lower case, quotes taken off, escapes left as they are."""
    found: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        plain = text.strip()
        if len(plain) > 1 and plain[0] == plain[-1] == '"':
            plain = plain[1:-1]
        found.setdefault(name.lower(), plain)
    return found


def _extended(value: str) -> str | None:
    match = _EXTENDED.fullmatch(value.strip())
    if match is None:
        return None
    return _decoded(unquote_to_bytes(match[2].encode("latin-1", errors="replace")), match[1])


def _plain(value: str, charset: str | None) -> str | None:
    text = _decoded(value.encode("latin-1", errors="replace"), "utf-8")
    if text is None and charset is not None:
        text = _decoded(value.encode("latin-1", errors="replace"), charset)
    if text is None:
        return None
    if _ENCODED_WORDS.fullmatch(text):
        return _words(text)
    if path := _CLIENT_PATH.fullmatch(text):
        return _last_component(text, path)
    if "\\" in text:
        # curl before 7.81, and RFC 9110 (section 5.6.4).
        text = re.sub(r'\\(["\\])', r"\1", text)
        if path := _CLIENT_PATH.fullmatch(text):
            return _last_component(text, path)
    if "%" in text and _PERCENT_ENCODED.fullmatch(text):
        return _decoded(unquote_to_bytes(text), "utf-8") or text
    return re.sub("|".join(_BROWSER_ESCAPES), lambda found: _BROWSER_ESCAPES[found[0]], text)


def _last_component(text: str, path: re.Match[str]) -> str:
    """The file's own name; all of it, to be refused, where the path tries to go elsewhere."""
    return text if ".." in text.split("\\") else path[1]


def _words(text: str) -> str | None:
    try:
        pieces = decode_header(text)
    except (HeaderParseError, ValueError):
        return None
    found = ""
    for data, charset in pieces:
        decoded = data if isinstance(data, str) else _decoded(data, charset or "ascii")
        if decoded is None:
            return None
        found += decoded
    return found


def _decoded(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (LookupError, UnicodeError):
        return None
