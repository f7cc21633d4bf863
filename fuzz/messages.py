"""Requests that are HTTP, from senders who may ask, with something odd in what they say."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from datetime import UTC, datetime
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.exchange import Sent
from fuzz.place import HOST, Place
from fuzz.values import ODD, body_of, changed, text_of
from portside import tokens
from portside.base64url import decode, encode
from portside.tokens import SigningKey
from tests.support.minting import upload_claims

_ID = "0123456789abcdef" * 2


class Messages:
    """Makes them, for one place."""

    def __init__(self, place: Place, random: Random) -> None:
        self._place = place
        self._random = random

    def _sent(
        self,
        port: int,
        method: str,
        path: str,
        token: str = "",
        body: bytes = b"",
        media_type: str = "application/json",
        **headers: str,
    ) -> Sent:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {media_type}"] if body else []
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        return Sent(port, head.encode("latin-1", "replace") + body)

    def signed(self, key: SigningKey, kind: str, claims: dict[str, Any]) -> str:
        """A token whose payload nobody has looked at."""
        header = {"alg": "EdDSA", "typ": kind, "kid": key.kid}
        if self._random.random() < 0.03:
            header = changed(self._random, header)
        payload = body_of(self._random, claims)
        if len(payload) > 5000:
            payload = b"{}"
        return signed_as_it_is(key, text_of(header).encode(), payload)

    # -- the node ----------------------------------------------------------------------------------

    def upload(self) -> Sent:
        """An upload, in one of its ways, with a token of an issuer who means something else."""
        agent, random = self._place.agent, self._random
        claims = upload_claims("lab", agent.node_id, {"namespace": "isos", "name": "a.bin"})
        token = self.signed(agent.issuer, tokens.UPLOAD_TYPE, claims.model_dump(mode="json"))
        path = random.choice(("/api/internal/upload", "/api/internal/upload/a.bin"))
        if random.random() < 0.4:
            return self._form(token)
        if random.random() < 0.5:
            return self._sent(
                self._place.node_port, "PUT", path + "/a.bin", token, b"content", "a/b"
            )
        said = base64.b64encode(text_of(random.choice(ODD)).encode()[:3000]).decode()
        return self._sent(
            self._place.node_port,
            "POST",
            "/api/v1/uploads",
            token,
            Tus_Resumable="1.0.0",
            Upload_Length=random.choice(("7", "0", "1e9", "9223372036854775807")),
            Upload_Metadata=f"filename {said}",
        )

    def _form(self, token: str) -> Sent:
        random = self._random
        name = random.choice(("file", "json", "metadata", "sha256", "\x00", "\xff", "a" * 500))
        other = text_of(random.choice(ODD)).encode()[:8000]
        disposition = random.choice(
            (
                'filename="a.bin"',
                'filename="\x00"',
                "filename*=UTF-8''%ff",
                "filename=",
                'filename="',
            )
        )
        body = (
            b'--x\r\nContent-Disposition: form-data; name="' + name.encode("latin-1") + b'"\r\n\r\n'
        )
        body += other + b'\r\n--x\r\nContent-Disposition: form-data; name="file"; '
        body += disposition.encode("latin-1") + b"\r\n\r\ncontent\r\n--x--\r\n"
        if random.random() < 0.2:
            at = random.randrange(len(body))
            body = (
                body[:at]
                + random.choice((b"", b"\r\n", b"\x00", b"--x--", b"\xff"))
                + body[at + 3 :]
            )
        return self._sent(
            self._place.node_port,
            "POST",
            "/api/internal/upload",
            token,
            body,
            "multipart/form-data; boundary=x",
        )

    def access(self) -> Sent:
        """An app that lists, reads, verifies, deletes."""
        agent, random, now = self._place.agent, self._random, int(time.time())
        claims = {
            "iss": "lab",
            "aud": agent.node_id,
            "sub": "app",
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "rights": ["list", "read", "verify", "delete"],
            "owner": "me",
        }
        token = self.signed(agent.issuer, tokens.ACCESS_TYPE, claims)
        path = random.choice(
            ("/api/v1/files", f"/api/v1/files/{_ID}", "/api/v1/quarantine", f"/f/{_ID}")
        )
        return self._sent(self._place.node_port, random.choice(("GET", "DELETE")), path, token)

    def settling(self) -> Sent:
        """An operator who settles what is in quarantine."""
        agent, now = self._place.agent, int(time.time())
        token = agent.issuer.sign(
            tokens.ACCESS_TYPE,
            {
                "iss": "lab",
                "aud": agent.node_id,
                "sub": "app",
                "iat": now,
                "nbf": now,
                "exp": now + 900,
                "rights": ["list", "read", "verify", "delete"],
            },
        )
        body = body_of(self._random, {"by": "remove", "accept_loss": False})
        return self._sent(self._place.node_port, "POST", f"/api/v1/quarantine/{_ID}", token, body)

    def download(self) -> Sent:
        """A link with a token in it."""
        agent, now = self._place.agent, int(time.time())
        claims = {
            "iss": "lab",
            "aud": agent.node_id,
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "path": "private/a.bin",
        }
        token = self.signed(agent.issuer, tokens.DOWNLOAD_TYPE, claims)
        return self._sent(self._place.node_port, "GET", f"/uploads/private/a.bin?token={token}")

    def replicate(self) -> Sent:
        """A copy from another node, which is stolen."""
        now = int(time.time())
        file_id = secrets.token_hex(16)
        path = f"isos/2026/01/02/03/a_{file_id[:8]}.bin"
        claims = {
            "iss": "s02",
            "aud": "s01",
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "jti": secrets.token_hex(16),
            "file_id": file_id,
            "path": path,
            "size": 7,
            "sha256": hashlib.sha256(b"content").hexdigest(),
            "namespace": "isos",
            "owner": "me",
            "name": "a.bin",
            "content_type": "application/octet-stream",
            "committed_at": datetime.now(UTC).isoformat(),
        }
        key = self._place.control.nodes.keys["s02"]
        token = self.signed(key, tokens.REPLICATE_TYPE, claims)
        return self._sent(
            self._place.node_port,
            "PUT",
            f"/api/internal/replicate/{path}",
            token,
            b"content",
            "a/b",
        )

    # -- the control plane -------------------------------------------------------------------------

    def session(self) -> Sent:
        """An app that wants an upload."""
        wish = {
            "owner": "me",
            "name": "a.iso",
            "namespace": "files",
            "layout": "dated",
            "size": 1000,
            "sha256": "a" * 64,
            "content_type": "application/octet-stream",
            "region": "eu",
            "client_address": "192.0.2.1",
            "avoid": ["s02"],
            "node_id": "s01",
        }
        return self._asked("POST", "/api/v1/upload/sessions", wish, self._place.app_key)

    def order(self) -> Sent:
        """An operator's wishes."""
        random = self._random
        pool = {
            "pool_id": f"p{random.randrange(50)}",
            "node_id": "s01",
            "weight": 1,
            "tier": "hot",
            "public_base_url": "https://a.example",
            "region": "eu",
            "priority": 0,
            "capacity": "4GiB",
            "is_upload_target": True,
        }
        move = {
            "kind": "move",
            "source": "s01",
            "target": "s02",
            "namespace": "files",
            "owner": "me",
            "older_than": "30d",
            "min_size": 1,
            "bytes_per_second": "1MiB",
            "hours": "22:00-06:00",
            "band": 0.1,
            "dry_run": True,
        }
        method, path, wish = random.choice(
            (
                ("POST", "/api/v1/pools", pool),
                ("PUT", "/api/v1/pools/s01", {**pool, "pool_id": "s01"}),
                ("POST", "/api/v1/moves", move),
                ("POST", "/api/v1/nodes/s03/state", {"state": "active", "force": False}),
            )
        )
        if method == "PUT":
            wish = {key: value for key, value in wish.items() if not key.endswith("_id")}
        return self._asked(method, path, wish, self._place.admin_key)

    def _asked(self, method: str, path: str, wish: dict[str, Any], key: str) -> Sent:
        body = body_of(self._random, wish)
        return self._sent(self._place.control_port, method, path, key, body)

    def heartbeat(self) -> Sent:
        """A node that is stolen, or has a bad memory module."""
        nodes, random = self._place.control.nodes, self._random
        node_id = random.choice(tuple(nodes.keys))
        beat = nodes.heartbeat(node_id, datetime.now(UTC)).model_dump(mode="json")
        beat |= {
            "work": [{"lease_id": _ID, "outcome": "done", "detail": "", "receipt": "a.b.c"}],
            "gone": [{"file_id": _ID, "why": "deleted"}],
            "quarantined": [{"file_id": _ID, "path": "a/b", "size": 1, "reason": "so"}],
            "inodes": {"free": 1000, "total": 2000, "reserved": 0, "kept_free": 0},
            "reasons": ["so"],
            "run": "a",
        }
        return self._told(node_id, "heartbeat", body_of(random, beat))

    def inventory(self) -> Sent:
        """A node that tells of its files."""
        node_id, random = "s02", self._random
        page: dict[str, Any] = {
            "node_id": node_id,
            "after": None,
            "last": None,
            "digest": "0" * 64,
            "file_ids": [],
            "deleted": False,
        }
        if random.random() < 0.5:
            return self._told(node_id, "inventory", body_of(random, page))
        held = {
            "file_id": secrets.token_hex(16),
            "jti": _ID,
            "namespace": "files",
            "owner": "me",
            "app": "shop",
            "name": "a.bin",
            "path": "files/a.bin",
            "size": 1,
            "sha256": "a" * 64,
            "content_type": "a/b",
            "committed_at": "2026-01-01T00:00:00Z",
        }
        body = body_of(
            random, {"node_id": node_id, "ticket": "", "files": [held], "deleted": False}
        )
        return self._told(node_id, "inventory/files", body)

    def _told(self, node_id: str, what: str, body: bytes) -> Sent:
        key = self._place.control.nodes.keys[node_id]
        claims = {
            "iss": node_id,
            "aud": "control",
            "iat": int(time.time()),
            "jti": secrets.token_hex(16),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        token = key.sign(tokens.HEARTBEAT_TYPE, claims)
        path = f"/api/v1/nodes/{node_id}/{what}"
        return self._sent(self._place.control_port, "POST", path, token, body)

    def receipt(self) -> Sent:
        """A node's word for a file, whoever brings it."""
        file_id = secrets.token_hex(16)
        claims = {
            "iss": "s02",
            "aud": "uploader",
            "iat": int(time.time()),
            "jti": _ID,
            "file_id": file_id,
            "path": f"files/{file_id}.bin",
            "size": 1,
            "sha256": "a" * 64,
            "committed_at": datetime.now(UTC).isoformat(),
            "copies": ["s02"],
        }
        key = self._place.control.nodes.keys["s02"]
        token = self.signed(key, tokens.RECEIPT_TYPE, claims)
        body = json.dumps({"receipt": token}).encode()
        return self._sent(self._place.control_port, "POST", "/api/v1/files", body=body)

    def page(self) -> Sent:
        """What everybody reads, whatever else was told before."""
        path = self._random.choice(
            *[
                (
                    "/api/v1/nodes",
                    "/api/v1/pools",
                    "/api/v1/files",
                    "/api/v1/repair",
                    "/api/v1/moves",
                    "/metrics",
                    "/health/ready",
                    "/api/v1/nodes/s02",
                )
            ]
        )
        return self._sent(self._place.control_port, "GET", path, self._place.admin_key)

    def any(self) -> Sent:
        """One of them all."""
        return self._random.choice(
            (
                *(self.upload, self.access, self.settling, self.download, self.replicate),
                *(self.session, self.order, self.heartbeat, self.inventory, self.receipt),
                self.page,
            )
        )()


def signed_as_it_is(key: SigningKey, header: bytes, payload: bytes) -> str:
    """A compact JWS (RFC 7515, section 7.1) over bytes that may be no JSON."""
    text = f"{encode(header)}.{encode(payload)}"
    private = Ed25519PrivateKey.from_private_bytes(decode(json.loads(key.to_json())["d"]))
    return f"{text}.{encode(private.sign(text.encode()))}"
