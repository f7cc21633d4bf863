"""Resumable uploads as tus 1.0 has them (tus.io/protocols/resumable-upload), for any server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.http_client import Request, ask

_VERSION = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Place:
    """An upload that was begun: where it is, and the headers that every request to it carries."""

    port: int
    target: str
    headers: Mapping[str, str]

    def append(self, offset: int) -> Request:
        """The request that carries the bytes from `offset` on."""
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        return Request("PATCH", self.target, {**_VERSION, **self.headers, **headers})

    def offset(self) -> int:
        """How many bytes the server has. Raises UploadFailed."""
        answer = ask(self.port, "HEAD", self.target, {**_VERSION, **self.headers})
        return int(answer.headers["upload-offset"])


def create(
    port: int, collection: str, length: int, headers: Mapping[str, str], *, part: bool = False
) -> Place:
    """Begin an upload of `length` bytes, or one part of a file. Raises UploadFailed."""
    sent = {**_VERSION, **headers, "Upload-Length": str(length)}
    if part:
        sent["Upload-Concat"] = "partial"
    answer = ask(port, "POST", collection, sent)
    # Servers name themselves as the world knows them, which is not where they are measured.
    return Place(port, urlsplit(answer.headers["location"]).path, headers)


def join(collection: str, parts: Sequence[Place]) -> Request:
    """The request that makes one file of complete parts, in this order."""
    concat = {"Upload-Concat": f"final;{' '.join(part.target for part in parts)}"}
    return Request("POST", collection, {**_VERSION, **parts[0].headers, **concat})
