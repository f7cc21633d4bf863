"""The resumable uploads of a node's double: tus 1.0 as the contract says, and faults on request."""

from __future__ import annotations

import base64
import re
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portside.tokens import unverified_claims
from portside.wire.files import StoredFile

if TYPE_CHECKING:
    from tests.support.client.node_double import Handler

UPLOADS_PATH = "/api/v1/uploads"
_BLOCK = 65536

Fault = Callable[["Handler"], bool]
"""Answers a request in place of the double; False lets the double answer it."""


@dataclass
class Upload:
    """One upload: what has arrived of it. A final one has parts in place of a length.

    A length of None is still to be told.
    """

    length: int | None
    jti: str
    name: str
    part: bool
    data: bytearray = field(default_factory=bytearray)
    metadata: str = ""
    stored: StoredFile | None = None


class TusDouble:
    """Every upload by its path, in the order of creation. `faults` are asked in turn, each once."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        self.faults: list[Fault] = []
        self.host: str | None = None
        self.received = 0
        # Faults are asked one at a time, and may call what counts bytes.
        self._lock = threading.RLock()

    def answer(self, handler: Handler) -> None:
        """Answer a request for UPLOADS_PATH or below."""
        with self._lock:
            fault = next((each for each in list(self.faults) if each(handler)), None)
            if fault is not None:
                self.faults.remove(fault)
                return
        if handler.headers["Tus-Resumable"] != "1.0.0":
            handler.problem(412, "protocol-version")
        elif handler.path == UPLOADS_PATH:
            self._create(handler)
        elif handler.path not in self.uploads:
            handler.problem(404, "upload-unknown")
        else:
            method = {"HEAD": self._head, "PATCH": self._patch, "DELETE": self._delete}
            method[handler.command](handler, self.uploads[handler.path])

    def _create(self, handler: Handler) -> None:
        token = str(handler.headers["Authorization"]).removeprefix("Bearer ")
        jti = str(unverified_claims(token)["jti"])
        metadata = str(handler.headers["Upload-Metadata"])
        name = base64.b64decode(metadata.split(",")[0].split()[1]).decode()
        concat = handler.headers.get("Upload-Concat", "")
        if concat.startswith("final;"):
            self._join(handler, jti, name, concat.removeprefix("final;").split())
            return
        deferred = handler.headers["Upload-Defer-Length"] == "1"
        length = None if deferred else int(handler.headers["Upload-Length"])
        part = concat == "partial"
        for place, upload in self.uploads.items():
            if upload.jti == jti and (not part or upload.metadata == metadata):
                if None not in (upload.length, length) and upload.length != length:
                    handler.problem(409, "token-used")
                elif upload.stored is not None:
                    handler.answer(201, upload.stored.model_dump_json())
                else:
                    self._created(handler, place)
                return
        place = f"{UPLOADS_PATH}/{secrets.token_hex(16)}"
        self.uploads[place] = upload = Upload(length, jti, name, part, metadata=metadata)
        if length == 0 and not part:
            upload.stored = handler.stored_file(b"")
            handler.answer(201, upload.stored.model_dump_json())
            return
        self._created(handler, place)

    def _created(self, handler: Handler, place: str) -> None:
        handler.answer(201, "", {"Location": (self.host or handler.double.url) + place})

    def _join(self, handler: Handler, jti: str, name: str, urls: list[str]) -> None:
        parts = [self.uploads[re.sub(r"^https?://[^/]+", "", url)] for url in urls]
        if any(len(part.data) < (part.length or 0) for part in parts):
            handler.problem(409, "parts-incomplete")
            return
        whole = b"".join(part.data for part in parts)
        final = next((each for each in self.uploads.values() if each.name == f"final {jti}"), None)
        if final is None:
            final = Upload(len(whole), jti, f"final {jti}", False, bytearray(whole))
            final.stored = handler.stored_file(whole)
            self.uploads[f"{UPLOADS_PATH}/{secrets.token_hex(16)}"] = final
        assert final.stored is not None
        handler.answer(201, final.stored.model_dump_json())

    def _head(self, handler: Handler, upload: Upload) -> None:
        deferred = upload.length is None
        length = {"Upload-Defer-Length": "1"} if deferred else {"Upload-Length": str(upload.length)}
        headers = {"Upload-Offset": str(len(upload.data)), **length}
        handler.answer(200, "", {**headers, "Cache-Control": "no-store"})

    def _patch(self, handler: Handler, upload: Upload) -> None:
        offset = int(handler.headers["Upload-Offset"])
        if offset != len(upload.data):
            handler.close_connection = True
            handler.problem(409, "offset-mismatch", {"Upload-Offset": str(len(upload.data))})
            return
        if upload.length is None and "Upload-Length" in handler.headers:
            upload.length = int(handler.headers["Upload-Length"])
        self.receive(handler, upload, int(handler.headers["Content-Length"]))
        if len(upload.data) == upload.length and not upload.part:
            upload.stored = upload.stored or handler.stored_file(bytes(upload.data))
            handler.answer(200, upload.stored.model_dump_json())
            return
        handler.answer(204, "", {"Upload-Offset": str(len(upload.data))})

    def receive(self, handler: Handler, upload: Upload, count: int) -> None:
        """Take up to `count` bytes of the body."""
        while count and (data := handler.rfile.read(min(count, _BLOCK))):
            upload.data += data
            count -= len(data)
            with self._lock:
                self.received += len(data)

    def _delete(self, handler: Handler, upload: Upload) -> None:
        del self.uploads[handler.path]
        handler.answer(204)


# -- faults ----------------------------------------------------------------------------------------


def hang_up(handler: Handler) -> None:
    """Cut the connection without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cut_after(count: int) -> Fault:
    """Take exactly `count` bytes of the next PATCH, then cut the connection."""

    def cut(handler: Handler) -> bool:
        if handler.command != "PATCH":
            return False
        double = handler.double.tus
        upload = double.uploads[handler.path]
        data = handler.rfile.read(count)
        upload.data += data
        double.received += len(data)
        hang_up(handler)
        return True

    return cut


def refuse(method: str, status: int, slug: str, headers: dict[str, str] | None = None) -> Fault:
    """Answer the next request of this method with a problem, before its body is read."""

    def refusal(handler: Handler) -> bool:
        if handler.command != method:
            return False
        handler.close_connection = True
        handler.problem(status, slug, headers)
        return True

    return refusal


def claim_offset(offset: str) -> Fault:
    """Answer the next HEAD with this offset."""

    def claim(handler: Handler) -> bool:
        if handler.command != "HEAD":
            return False
        handler.answer(200, "", {"Upload-Offset": offset})
        return True

    return claim


def lose_answer(method: str, headers: str = "") -> Fault:
    """Do as the next request of this method asks, and cut the connection before the answer.

    `headers`, if given, must be part of what the request's headers say.
    """

    def lose(handler: Handler) -> bool:
        if handler.command != method or headers not in str(handler.headers):
            return False
        handler.double.tus.faults.remove(lose)
        answer = handler.answer

        def cut(*arguments: object) -> None:
            handler.answer = answer  # type: ignore[method-assign]
            hang_up(handler)

        handler.answer = cut  # type: ignore[assignment, method-assign]
        return False

    return lose
