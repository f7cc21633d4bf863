"""The last line of defence of the log: whatever looks like a token is cut out of a finished line.

No caller passes tokens to a log on purpose; but a token may be part of a file's name, of an
exception's text, or of a request line that gunicorn quotes.
"""

from __future__ import annotations

import re

CUT = "[cut]"

_DOT = r"(?:\.|%2[eE])"
# A compact JWS begins with base64url of `{"`, whole, torn or with its dots escaped (RFC 7515).
_JWS = rf"eyJ[\w%=+/-]{{4,}}(?:{_DOT}[\w%=+/-]*)*"
# The same in base64 once more, as in Upload-Metadata.
_JWS_IN_BASE64 = r"ZXlK[\w=+/-]{4,}"
_ALIKE = re.compile(f"{_JWS}|{_JWS_IN_BASE64}")

# What stands behind these words is secret whatever it looks like: a header as text, in JSON (its
# quotes escaped or not) and in a dictionary's repr; a query's or a form's `token=`.
_QUOTE = r"\\*[\"']?"
_HEADER = rf"authorization{_QUOTE}\s*[:=,]\s*b?{_QUOTE}\s*"
_NAMED = re.compile(
    rf"({_HEADER}(?:\w+ )?|\b(?:bearer|basic) |token(?:=|%3D))[^\s\"'\\&,;)]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` with everything that may be a token replaced by `[cut]`."""
    return _ALIKE.sub(CUT, _NAMED.sub(rf"\1{CUT}", text))
