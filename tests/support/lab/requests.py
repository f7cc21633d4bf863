"""HTTPS to a lab node, down to the byte: what a browser, a script or a hostile client may send."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

from portside.cluster.file import Cluster
from portside.quantities import MIB
from portside.tokens import SigningKey, mint_access, mint_upload
from portside.wire.claims import AccessClaims, Right, UploadClaims
from portside.wire.problem import PROBLEM_PREFIX
from tests.support.minting import upload_claims

UPLOAD = "/api/internal/upload"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def slug(self) -> str:
        """The problem's slug, after checking that it is a proper problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["detail"]
        return str(problem["type"].removeprefix(PROBLEM_PREFIX))


@dataclass(frozen=True, slots=True)
class Node:
    """One storage node as the outside world knows it, and an issuer of tokens for it."""

    node_id: str
    host: str
    trust: ssl.SSLContext
    issuer: SigningKey

    def connect(self, timeout: float = 60) -> ssl.SSLSocket:
        """A TLS connection on which nothing is sent yet."""
        plain = socket.create_connection((self.host, 443), timeout=timeout)
        return self.trust.wrap_socket(plain, server_hostname=self.host)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request, one answer."""
        connection = http.client.HTTPSConnection(self.host, context=self.trust, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def download_digest(self, path: str) -> tuple[int, str]:
        """A public file's size in bytes and SHA-256, as it is served; it may be large."""
        connection = http.client.HTTPSConnection(self.host, context=self.trust, timeout=120)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            digest, size = hashlib.sha256(), 0
            while block := response.read(4 * MIB):
                digest.update(block)
                size += len(block)
        finally:
            connection.close()
        return size, digest.hexdigest()

    def put(self, name: str, data: Any, token: str | None = None, **headers: str) -> Answer:
        """PUT a raw body with a token of its own unless one is given."""
        sent = {"Authorization": f"Bearer {token or self.mint()}", **headers}
        return self.ask("PUT", f"{UPLOAD}/{name}", data, sent)

    def open_put(self, name: str, length: int, token: str | None) -> ssl.SSLSocket:
        """A connection on which a PUT's headers are sent and nothing of its body."""
        connection = self.connect()
        lines = [f"PUT {UPLOAD}/{name} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {length}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection

    def mint(self, key: SigningKey | None = None, **changed: Any) -> str:
        """An upload token for this node with some of its claims changed."""
        return mint_upload(key or self.issuer, self.claims(**changed))

    def claims(self, **changed: Any) -> UploadClaims:
        """Claims that allow 1 GiB into the namespace `lab`."""
        return upload_claims(self.issuer.owner, self.node_id, {"namespace": "lab", **changed})

    def manage(self, method: str, path: str, *rights: Right) -> Answer:
        """One request as an app makes it that has these rights to every file."""
        now = int(time.time())
        claims = AccessClaims(
            iss=self.issuer.owner,
            aud=self.node_id,
            sub="app",
            iat=now,
            nbf=now,
            exp=now + 60,
            rights=rights,
        )
        token = mint_access(self.issuer, claims)
        return self.ask(method, path, headers={"Authorization": f"Bearer {token}"})

    def is_ready(self) -> bool:
        """Whether the node would take an upload now."""
        try:
            return self.ask("GET", "/health/ready").status == 200
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        """Wait while its agent recovers or restarts."""
        deadline = time.monotonic() + 180
        while not self.is_ready():
            assert time.monotonic() < deadline, "the agent isn't ready"
            time.sleep(0.5)

    def remove_files(self, namespace: str) -> None:
        """Delete everything in a namespace, as an app would."""
        gone: set[str] = set()
        while True:
            page = self.manage("GET", f"/api/v1/files?namespace={namespace}&limit=1000", "list")
            assert page.status == 200, page.body
            listed = [file["file_id"] for file in json.loads(page.body)["files"]]
            assert gone.isdisjoint(listed), "deleted, and listed still"
            for file_id in listed:
                deleted = self.manage("DELETE", f"/api/v1/files/{file_id}", "delete")
                # Not there any more: the control plane took a copy away that isn't needed here,
                # after a drain, or the file was deleted on another node.
                assert deleted.status in (204, 404), deleted.body
            gone.update(listed)
            if not listed:
                return


def read_answer(connection: socket.socket) -> Answer:
    """The answer on a connection whose request was sent by hand."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return _answer(response)


def talking_to(cluster: Cluster, node_id: str, trust: ssl.SSLContext, issuer: SigningKey) -> Node:
    """The node `node_id` of the cluster."""
    return Node(node_id, cluster.host(node_id), trust, issuer)


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, response.headers, response.read())
