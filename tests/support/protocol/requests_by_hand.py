"""Resumable uploads spoken by hand: each method is one request, so that a test can say anything.

Two dialects on the same resources: tus 1.0 and draft-ietf-httpbis-resumable-upload.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import requests

from portside.wire.claims import UploadClaims
from portside.wire.problem import PROBLEM_PREFIX
from tests.support.agent.process import Agent

UPLOADS = "/api/v1/uploads"
TUS_MEDIA = "application/offset+octet-stream"
IETF_MEDIA = "application/partial-upload"
TIMEOUT_SECONDS = 60

Headers = Mapping[str, str | None]
"""Headers to send; None takes one away that would be sent otherwise."""


def metadata(**pairs: str) -> str:
    """An `Upload-Metadata` value (tus 1.0, creation)."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


def checksum(algorithm: str, data: bytes) -> dict[str, str]:
    """The header `Upload-Checksum` for a request's bytes (tus 1.0, checksum)."""
    digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {base64.b64encode(digest).decode()}"}


class Talker:
    """Requests of one token to one agent; the token's namespace is its own."""

    def __init__(
        self,
        agent: Agent,
        claims: UploadClaims | None = None,
        base: str | None = None,
        **changed: Any,
    ) -> None:
        namespace = secrets.token_hex(8)
        default = {"name": "file.bin", "namespace": namespace}
        self.agent = agent
        self.base = base or agent.url
        self.claims = claims or agent.claims(**{**default, **changed})
        self.token = agent.mint(**dict(self.claims))
        self.begun: list[str] = []

    def again(self, **changed: Any) -> Self:
        """The same upload with some claims of the token changed."""
        claims = self.claims.model_copy(update=changed)
        return type(self)(self.agent, claims, self.base)

    def ask(
        self,
        method: str,
        place: str = UPLOADS,
        headers: Headers | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> requests.Response:
        """One request to a path or URL of the agent."""
        url = place if place.startswith("http") else self.base + place
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        response = requests.request(
            method,
            url,
            data=body,
            headers={name: value for name, value in sent.items() if value is not None},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
        if method == "POST" and "Location" in response.headers:
            self.begun.append(response.headers["Location"])
        return response

    def end_all(self) -> None:
        """Terminate what was begun and didn't come to its end."""
        for url in self.begun:
            self.ask("DELETE", url, {"Tus-Resumable": "1.0.0"})


class Tus(Talker):
    """tus 1.0."""

    def create(
        self, length: object = None, headers: Headers | None = None, body: bytes | None = None
    ) -> requests.Response:
        """POST. Without a length it is deferred; with a body the upload begins with it."""
        sent: dict[str, str | None] = {"Tus-Resumable": "1.0.0"}
        sent.update({"Upload-Defer-Length": "1"} if length is None else _numbered(length))
        sent.update({} if body is None else {"Content-Type": TUS_MEDIA})
        return self.ask("POST", UPLOADS, {**sent, **(headers or {})}, body)

    def created(self, length: int | None = None, body: bytes | None = None) -> str:
        """The URL of a new upload."""
        response = self.create(length, body=body)
        assert response.status_code == 201, response.text
        return response.headers["Location"]

    def append(
        self,
        url: str,
        offset: object,
        body: bytes | Iterable[bytes],
        headers: Headers | None = None,
    ) -> requests.Response:
        """PATCH; the file that it may complete is told in the answer."""
        sent = {
            "Tus-Resumable": "1.0.0",
            "Accept": "application/json",
            "Content-Type": TUS_MEDIA,
            "Upload-Offset": str(offset),
        }
        return self.ask("PATCH", url, {**sent, **(headers or {})}, body)

    def head(self, url: str) -> requests.Response:
        """HEAD."""
        return self.ask("HEAD", url, {"Tus-Resumable": "1.0.0"})

    def offset(self, url: str) -> int:
        """How far the upload is."""
        response = self.head(url)
        assert response.status_code == 200, response.status_code
        return int(response.headers["Upload-Offset"])

    def delete(self, url: str) -> requests.Response:
        """DELETE."""
        return self.ask("DELETE", url, {"Tus-Resumable": "1.0.0"})


class Ietf(Talker):
    """The IETF draft; `version` is its interop version, which a client may leave out."""

    version: str | None = None

    def create(
        self,
        length: int | None = None,
        complete: bool = False,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """POST."""
        sent = {**self._common(complete), **({} if length is None else _numbered(length))}
        return self.ask("POST", UPLOADS, {**sent, **(headers or {})}, body)

    def created(self, length: int | None = None) -> str:
        """The URL of a new upload."""
        response = self.create(length)
        assert response.status_code == 201, response.text
        return response.headers["Location"]

    def append(
        self,
        url: str,
        offset: object,
        body: bytes | Iterable[bytes] = b"",
        complete: bool = False,
        headers: Headers | None = None,
    ) -> requests.Response:
        """PATCH."""
        sent = {
            **self._common(complete),
            "Content-Type": IETF_MEDIA,
            "Upload-Offset": str(offset),
        }
        return self.ask("PATCH", url, {**sent, **(headers or {})}, body)

    def head(self, url: str) -> requests.Response:
        """HEAD."""
        return self.ask("HEAD", url, {"Upload-Draft-Interop-Version": self.version})

    def offset(self, url: str) -> int:
        """How far the upload is."""
        response = self.head(url)
        assert response.status_code == 204, response.status_code
        return int(response.headers["Upload-Offset"])

    def delete(self, url: str) -> requests.Response:
        """DELETE."""
        return self.ask("DELETE", url, {"Upload-Draft-Interop-Version": self.version})

    def _common(self, complete: bool) -> dict[str, str | None]:
        return {
            "Upload-Draft-Interop-Version": self.version,
            "Upload-Complete": "?1" if complete else "?0",
        }


def _numbered(length: object) -> dict[str, str | None]:
    return {"Upload-Length": str(length)}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read off a raw connection; header names are written Like-This."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def slug(self) -> str:
        """The problem's slug, after checking that the answer is a proper problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        document = json.loads(self.body)
        assert document["status"] == self.status
        return str(document["type"].removeprefix(PROBLEM_PREFIX))


class Connection:
    """A request whose body the test sends as it likes: in pieces, too short, or never."""

    def __init__(self, talker: Talker, method: str, place: str, headers: Mapping[str, str]) -> None:
        self._method = method
        self.socket = socket.create_connection(
            ("127.0.0.1", talker.agent.port), timeout=TIMEOUT_SECONDS
        )
        path = place.removeprefix(talker.base)
        sent = {"Host": "agent", "Authorization": f"Bearer {talker.token}", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {sent[name]}" for name in sent)]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    @classmethod
    def append(
        cls,
        talker: Talker,
        url: str,
        offset: int,
        length: int,
        headers: Mapping[str, str] | None = None,
    ) -> Connection:
        """A tus PATCH that announces `length` bytes and has sent none of them."""
        sent = {
            "Tus-Resumable": "1.0.0",
            "Accept": "application/json",
            "Content-Type": TUS_MEDIA,
            "Upload-Offset": str(offset),
            "Content-Length": str(length),
        }
        return cls(talker, "PATCH", url, {**sent, **(headers or {})})

    @classmethod
    def begun(
        cls,
        talker: Talker,
        url: str,
        offset: int,
        length: int,
        headers: Mapping[str, str] | None = None,
    ) -> Connection:
        """As `append`, and the agent has let it in: what is asked now is asked later."""
        running = talker.agent.status()["slots"]["used"]
        connection = cls.append(talker, url, offset, length, headers)
        talker.agent.wait_for_uploads(running + 1)
        return connection

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Read the answer. Raises OSError or http.client.HTTPException when there is none."""
        response = http.client.HTTPResponse(self.socket, method=self._method)
        response.begin()
        headers = {name.title(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, response.read())

    def ended(self) -> bool:
        """Whether the agent answers or hangs up, which it does at once or not at all."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
