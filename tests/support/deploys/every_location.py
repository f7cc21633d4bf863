"""Requests that come to every location of nginx, in every status, and the policy of each answer.

They are for a machine that is storage node and control plane, with the private namespace `private`
and a file of each kind in `open` and in `private`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.nginx_process import reply

UPLOAD = "/api/internal/upload/a.iso"
NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'"
STORED = "default-src 'none'; sandbox"
PICTURE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
FILM = (
    "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; "
    "sandbox allow-downloads allow-same-origin"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and what comes of it at the location that answers it."""

    location: str
    """As nginx.conf has it."""
    status: int
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    policy: str = NOTHING_RUNS
    behind: bytes | None = None
    """What the service behind nginx answers; None: everything is allowed, nothing is stored."""
    often: bool = False
    """From an address that has come too often."""
    plain: bool = False
    """Sent to the port of HTTPS without TLS."""


def _sent(path: str, **headers: str) -> bytes:
    """The agent's answer where nginx is to send a file."""
    return reply(200, X_Accel_Redirect=f"/_stored/{path}", **headers)


REFUSED = reply(403, X_Refusal_Status="401", X_Refusal="{}", WWW_Authenticate="Bearer")
ON_BOTH = (
    Case("@not_found", 404, "/nothing"),
    Case("@method_not_allowed", 405, "/api/v1/files", "TRACE"),
    Case("@too_large", 413, "/api/v1/files", "POST", {"Content-Length": "2000000"}),
    Case("@failed", 500, "/fails"),
    Case("= /_malformed", 400, "/%ZZ"),
    Case("= /_too_long", 400, "/" + "a" * 9000),
    Case("= /_plain_http", 400, "/api/v1/files", plain=True),
    Case("@rate_limited", 429, "/api/v1/files", often=True),
    Case("@unavailable", 503, "/api/v1/files", behind=b""),
    Case("/api/", 200, "/api/v1/files", behind=reply(200, "{}")),
    Case("/api/", 204, "/api/v1/files", "OPTIONS", {"Access-Control-Request-Method": "GET"}),
    Case("/api/", 304, "/api/v1/files", behind=reply(304)),
    Case("/api/", 404, "/api/v1/files", behind=reply(404, "{}")),
    Case("/api/", 500, "/api/v1/files", behind=reply(500, "{}")),
    Case("/f/", 302, "/f/x/a.bin", behind=reply(302, Location="https://s02.portside.test/")),
    Case("/f/", 410, "/f/x/a.bin", behind=reply(410, "{}")),
    Case("/health/", 200, "/health/live", behind=reply(200, "{}")),
    Case("= /openapi.json", 200, "/openapi.json", behind=reply(200, "{}")),
    Case("= /metrics", 200, "/metrics", behind=reply(200, "portside_up 1")),
    Case("= /api", 404, "/api"),
    Case("= /health", 404, "/health"),
    Case("= /f", 404, "/f"),
    Case("/", 404, "/"),
)
_BIN, _PRIVATE = "/uploads/open/a.bin", "/uploads/private/a.bin"
_CONTENT = "/api/v1/files/x/content"
ON_A_NODE = (
    Case("@precondition_failed", 412, _BIN, headers={"If-Match": '"x"'}, policy=STORED),
    Case("@range_refused", 416, _BIN, headers={"Range": "bytes=99-"}, policy=STORED),
    Case("@rate_limited", 503, "/api/v1/uploads", "POST", {"Tus-Resumable": "1.0.0"}, often=True),
    Case("@unasked", 503, UPLOAD, "PUT", behind=b""),
    Case("@refused", 401, UPLOAD, "PUT", behind=REFUSED),
    Case("= /_preflight", 401, UPLOAD, "PUT", behind=REFUSED),
    Case("= /_download", 401, _PRIVATE, behind=REFUSED),
    Case(r"~ ^/uploads/(.*/)?\.|^/uploads/.*\.attr\.json$", 404, f"{_BIN}.attr.json"),
    Case("/uploads/", 200, _BIN, policy=STORED),
    Case("/uploads/", 200, _BIN, "HEAD", policy=STORED),
    Case("/uploads/", 206, _BIN, headers={"Range": "bytes=1-2"}, policy=STORED),
    Case("/uploads/", 304, _BIN, headers={"If-None-Match": f'"{"0" * 64}"'}, policy=STORED),
    Case("/uploads/", 405, _BIN, "POST"),
    Case("/uploads/", 204, _BIN, "OPTIONS"),
    Case("/uploads/", 404, "/uploads/open"),
    Case("/uploads/", 200, "/uploads/open/a.png", policy=PICTURE),
    Case("/uploads/", 200, "/uploads/open/a.mp4", policy=FILM),
    Case("/uploads/", 206, "/uploads/open/a.mp4", headers={"Range": "bytes=1-"}, policy=FILM),
    Case(
        "/uploads/",
        304,
        "/uploads/open/a.mp4",
        headers={"If-None-Match": f'"{"0" * 64}"'},
        policy=FILM,
    ),
    Case("/uploads/", 200, "/uploads/open/a.flac", policy=FILM),
    Case("/uploads/", 200, "/uploads/open/a.pdf", policy=STORED),
    Case("/uploads/", 200, "/uploads/open/a.svg", policy=STORED),
    Case("/uploads/", 200, "/uploads/open/unsaid.png", policy=PICTURE),
    Case("/uploads/", 200, "/uploads/open/unsaid.mp4", policy=FILM),
    Case("/uploads/", 200, "/uploads/open/unsaid.html", policy=STORED),
    Case("/uploads/private/", 200, _PRIVATE, policy=STORED),
    Case("/uploads/private/", 206, _PRIVATE, headers={"Range": "bytes=1-2"}, policy=STORED),
    Case("/uploads/private/", 200, "/uploads/private/a.png", policy=PICTURE),
    Case("/uploads/private/", 405, _PRIVATE, "DELETE"),
    Case("/uploads/private/", 503, _PRIVATE, behind=b""),
    Case("= /_missing", 404, "/uploads/open/missing.bin"),
    Case("= /_missing", 410, "/uploads/open/gone.bin", behind=reply(410, "{}")),
    Case("= /_missing", 503, "/uploads/open/missing.bin", behind=b""),
    Case("/_stored/", 200, _CONTENT, behind=_sent("open/a.bin"), policy=STORED),
    Case("/_stored/", 200, _CONTENT, behind=_sent("open/a.mp4"), policy=FILM),
    Case("/_stored/", 200, "/f/x/a.png", behind=_sent("open/a.png"), policy=PICTURE),
    Case(
        "/_stored/",
        206,
        _CONTENT,
        headers={"Range": "bytes=1-2"},
        behind=_sent("private/a.svg"),
        policy=STORED,
    ),
    Case(
        "/_stored/",
        416,
        _CONTENT,
        headers={"Range": "bytes=99-"},
        behind=_sent("private/a.bin"),
        policy=STORED,
    ),
    Case("/api/internal/upload", 201, UPLOAD, "PUT", behind=reply(201, "{}")),
    Case("/api/internal/replicate/", 201, "/api/internal/replicate/a", behind=reply(201)),
    Case("/api/v1/uploads", 204, "/api/v1/uploads/x", "HEAD"),
    Case("/api/v1/uploads", 423, "/api/v1/uploads/x", "HEAD", {"Tus-Resumable": "1"}, behind=b""),
    Case(
        "~ ^(?:/api/v1/files/[^/]+/verify|/api/v1/quarantine/[^/]+)$",
        200,
        "/api/v1/files/x/verify",
        behind=reply(200, "{}"),
    ),
    Case("= /api/internal/replicate", 404, "/api/internal/replicate"),
)
