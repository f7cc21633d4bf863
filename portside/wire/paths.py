"""Where nodes and the control plane answer: the paths that more than one program knows.

Each begins behind a host's base URL. What lies below them is said where it is served.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from portside.names import MAX_NAME_BYTES, truncate
from portside.wire.fields import FILE_ID_PATTERN

UPLOAD = "/api/internal/upload"
"""A node's: a whole file in one request."""
RESUMABLE_UPLOADS = "/api/v1/uploads"
"""A node's: uploads that go on after a break."""
REPLICATE = "/api/internal/replicate"
"""A node's: copies that other nodes send."""
KEYS = "/api/v1/system/keys"
"""A node's: the key that its receipts are checked with."""
UPLOAD_STATUS = "/api/v1/system/upload-status"
"""A node's: what admission decides by."""
QUARANTINE = "/api/v1/quarantine"
"""A node's: what it keeps out of service, and its being settled."""

USAGE = "/api/v1/usage"
"""How much an owner has."""

LASTING = "/f"
"""Every node's and the control plane's: `/f/<file id>/<name>` finds a file wherever it is."""
DIRECT = "/uploads"
"""A node's: its files, served by nginx from where they lie."""

FILES = "/api/v1/files"
"""A node's own files; on the control plane, those of the whole cluster."""

SESSIONS = "/api/v1/upload/sessions"
NODES = "/api/v1/nodes"
POOLS = "/api/v1/pools"
MOVES = "/api/v1/moves"
APPS = "/api/v1/apps"
REVOKED = "/api/v1/revocations"
REPAIR = "/api/v1/repair"
USAGE = "/api/v1/usage"
QUOTAS = "/api/v1/quotas"
"""The control plane's, as these are from SESSIONS on."""


_CUT_OFF = MAX_NAME_BYTES - 100
"""A hundred bytes stay, at most 300 characters of a URL."""


def lasting_url(base: str, file_id: str, name: str | None) -> str:
    """The URL that a file keeps, at a base URL. Its name is for people: the id says which file.

    A long name is cut. The URL is among the attributes, which have 4 KiB for all they say.
    """
    if not name:
        return f"{base}{LASTING}/{file_id}"
    return f"{base}{LASTING}/{file_id}/{quote(truncate(name, _CUT_OFF), safe='')}"


def file_id_in(text: str) -> str:
    """The id of a file that a person names: by it, or by its lasting URL, as `put` prints it.

    Raises ValueError.
    """
    given = text.strip()
    lasting = re.fullmatch(rf"{LASTING}/([^/]+)(?:/.*)?", urlsplit(given).path)
    file_id = (lasting[1] if lasting else given).lower()
    if not re.fullmatch(FILE_ID_PATTERN, file_id):
        raise ValueError(
            # Without its query: there may be a token in it.
            f"{text.partition('?')[0]!r} is no file's id: give that as `portside ls` lists it, or "
            f"the URL that `portside put FILE` has printed, https://...{LASTING}/<id>/<name>"
        )
    return file_id


def direct_url(base: str, path: PurePosixPath | str) -> str:
    """The URL of one node's copy, for as long as it is there."""
    return f"{base}{DIRECT}/{quote(str(path))}"
