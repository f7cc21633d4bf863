"""The file name of a Content-Disposition (RFC 6266)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from multipart import parse_options_header

from agent.problems import ProblemError

_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)", re.IGNORECASE)
"""RFC 8187: percent-encoded UTF-8, the form that is never ambiguous."""


def disposition_name(value: str) -> str | None:
    """The file name of a Content-Disposition (RFC 6266, section 4.3): the extended form first."""
    if not value:
        return None
    extended = _EXTENDED_NAME.search(value)
    if extended is None:
        _, options = parse_options_header(value)
        return str(options["filename"]) if options.get("filename") else None
    try:
        return unquote(extended[1], errors="strict")
    except UnicodeDecodeError:
        raise ProblemError(
            "malformed-request", "Content-Disposition: filename* is no UTF-8"
        ) from None
