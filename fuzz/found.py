"""What was found once: each request once had a 5xx, HTML, no answer, or a log line of no use."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fuzz.exchange import Sent
from fuzz.place import HOST, Place
from portside import tokens
from tests.support.minting import upload_claims

_HEADS = (
    b"GET //[::1/.. HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /api/v1/uploads HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTus-Resumable: 1.0.0\r\n"
    b"Upload-Concat: final;http://[::1\r\n\r\n",
    # A byte that is no UTF-8 in a path: the log's line has to be.
    b"GET /api/v1/files\x93 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /uploads/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/v1/nodes\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    # gunicorn's own refusals, which were HTML.
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\nRange: x\x01\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\nRange: x\x7f\r\n\r\n",
    b"A" * 300 + b" /api/v1/files HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 300 + b"\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 6000 + b"\r\n",
    # nginx's own.
    b"GET /api?token=/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/internal/replicate HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: sha1\r\n\r\n",
    b"GET /api/v1/files HTTP/3.0\r\nHost: a\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\n\r\n",
    b"GET /api/v1/files HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"TRACE /api/v1/files HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"get /api/v1/files HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
    # Told in the header that a refusal travels in: longer than nginx took it.
    b"GET /uploads/private/" + b"%61" * 2700 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /uploads/private/" + b'"' * 7900 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
)

_CLAIMS: tuple[dict[str, Any], ...] = (
    {"exp": 2**62},
    {"session_deadline": 2**62},
    {"session_deadline": 2**70},
    {"session_deadline": float("nan")},
    {"exp": True},
    {"name": "a\x00b"},
    {"sub": "\ud800"},
)

_FIGURES: tuple[dict[str, Any], ...] = (
    {"load": float("nan")},
    {"iops": float("inf")},
    {"disk_free": 2**70},
    {"version": "a\x00b"},
    {"sent_at": "0001-01-01T00:00:00+23:59"},
    {"work": [{"lease_id": "a", "outcome": "done"}] * 3000},
    {"work": [{}] * 100_000},
)

_RECEIPTS: tuple[dict[str, Any], ...] = (
    {"jti": "https://["},
    {"jti": "\x1b[31m"},
    {"path": "files/a\x00b"},
    {"path": "../../etc/passwd"},
    {"size": 2**70},
    {"committed_at": "2026-01-01T00:00:00"},
    {"committed_at": "9999-12-31T23:59:59-23:59"},
)


def requests(place: Place) -> Iterator[Sent]:
    """All of them, to the sides that they are for."""
    for head in _HEADS:
        yield Sent(place.node_port, head)
        yield Sent(place.control_port, head)
    for claims in _CLAIMS:
        yield _upload(place, claims)
    for figures in _FIGURES:
        yield _heartbeat(place, figures)
    for said in _RECEIPTS:
        yield _receipt(place, said)
    # After a heartbeat with such figures it failed for everybody.
    yield _request(place.control_port, "GET", "/api/v1/nodes", place.app_key)


def _request(port: int, method: str, path: str, token: str = "", body: bytes = b"") -> Sent:
    signed = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n{signed}\r\n"
    )
    return Sent(port, head.encode() + body)


def _upload(place: Place, claims: dict[str, Any]) -> Sent:
    said = upload_claims("lab", place.agent.node_id, {"namespace": "isos"}).model_dump(
        mode="json", exclude_none=True
    )
    token = place.agent.issuer.sign(tokens.UPLOAD_TYPE, {**said, **claims})
    head = (
        f"POST /api/v1/uploads HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n"
        f"Authorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 7\r\n\r\n"
    )
    return Sent(place.node_port, head.encode())


def _heartbeat(place: Place, figures: dict[str, Any]) -> Sent:
    beat = place.control.nodes.heartbeat("s02", datetime.now(UTC)).model_dump(mode="json")
    body = json.dumps({**beat, **figures}).encode()
    claims = {
        "iss": "s02",
        "aud": tokens.HEARTBEAT_AUDIENCE,
        "iat": int(time.time()),
        "jti": secrets.token_hex(16),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    token = place.control.nodes.keys["s02"].sign(tokens.HEARTBEAT_TYPE, claims)
    return _request(place.control_port, "POST", "/api/v1/nodes/s02/heartbeat", token, body)


def _receipt(place: Place, said: dict[str, Any]) -> Sent:
    file_id = secrets.token_hex(16)
    claims = {
        "iss": "s02",
        "aud": tokens.RECEIPT_AUDIENCE,
        "iat": int(time.time()),
        "jti": secrets.token_hex(16),
        "file_id": file_id,
        "path": f"files/{file_id}.bin",
        "size": 1,
        "sha256": "a" * 64,
        "committed_at": datetime.now(UTC).isoformat(),
        "copies": ["s02"],
        **said,
    }
    token = place.control.nodes.keys["s02"].sign(tokens.RECEIPT_TYPE, claims)
    body = json.dumps({"receipt": token}).encode()
    return _request(place.control_port, "POST", "/api/v1/files", body=body)
