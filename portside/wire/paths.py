"""Where nodes and the control plane answer: the paths that more than one program knows.

Each begins behind a host's base URL. What lies below them is said where it is served.
"""

from __future__ import annotations

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

FILES = "/api/v1/files"
"""A node's own files; on the control plane, those of the whole cluster."""

SESSIONS = "/api/v1/upload/sessions"
NODES = "/api/v1/nodes"
MOVES = "/api/v1/moves"
REPAIR = "/api/v1/repair"
"""The control plane's, as these four are."""
