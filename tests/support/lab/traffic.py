"""Uploads to a node without a pause while something about it changes, and what became of them.

Raw bodies and forms are sent once each, as plain clients do: whatever isn't a 201 is a failure.
tus uploads go on where they were cut off, as such clients do: they fail if they aren't completed.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from portside.quantities import KIB
from tests.support.lab.requests import UPLOAD, Answer, Node

UPLOADS = "/api/v1/uploads"
PIECE = 64 * KIB
PAUSE = 0.1
"""Seconds between two pieces: a slow line, so that uploads last."""
PIECES = (2, 20, 150)
"""The lengths of uploads, a sender for each: a blink, two seconds, and through a whole change."""
PATIENCE = 180.0
"""Seconds after which a tus upload that gets no further isn't completed."""
BOUNDARY = "boundary-of-the-traffic"


@dataclass(frozen=True, slots=True)
class _Upload:
    kind: str
    name: str
    content: bytes
    token: str
    file_id: str


@dataclass
class Outcome:
    """Uploads by kind: `done` counts those that the node took and has as they were sent."""

    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    resumed: int = 0
    """How often a tus upload was cut off or turned away, and asked where it goes on."""
    _taken: list[tuple[str, str, str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, upload: _Upload) -> None:
        """Note an upload that the node says it has."""
        digest = hashlib.sha256(upload.content).hexdigest()
        with self._lock:
            self._taken.append((upload.kind, upload.name, upload.file_id, digest))

    def fail(self, kind: str, name: str, why: str) -> None:
        """Note an upload that came to grief, with the time (UTC)."""
        with self._lock:
            self.failed.append(f"{datetime.now(UTC):%T} {kind} {name}: {why}")

    def go_on(self) -> None:
        """Note a tus upload that isn't through yet."""
        with self._lock:
            self.resumed += 1

    def compare(self, node: Node) -> None:
        """Ask the node for each file that it took."""
        for kind, name, file_id, digest in self._taken:
            answer = node.manage("GET", f"/api/v1/files/{file_id}", "read")
            if answer.status == 200 and json.loads(answer.body)["sha256"] == digest:
                self.done[kind] += 1
            else:
                self.fail(kind, name, f"taken, and then {answer.status} {answer.body[:200]!r}")


@contextmanager
def traffic(node: Node, kinds: tuple[str, ...] = ("put", "form", "tus")) -> Iterator[Outcome]:
    """Uploads of each kind and length for as long as the block lasts, until the last is through.

    What became of them is known after the block.
    """
    outcome, over = Outcome(), threading.Event()
    senders = [
        threading.Thread(target=_send_on, args=(node, outcome, over, kind, pieces))
        for kind, pieces in itertools.product(kinds, PIECES)
    ]
    for sender in senders:
        sender.start()
    try:
        yield outcome
    finally:
        over.set()
        for sender in senders:
            sender.join()
        outcome.compare(node)


def _send_on(node: Node, outcome: Outcome, over: threading.Event, kind: str, pieces: int) -> None:
    send = {"put": _put, "form": _form, "tus": _tus}[kind]
    for number in itertools.count():
        file_id = secrets.token_hex(16)
        upload = _Upload(
            kind=kind,
            name=f"{kind}-{pieces}-{number}.bin",
            content=os.urandom(pieces * PIECE),
            token=node.mint(file_id=file_id),
            file_id=file_id,
        )
        try:
            problem = send(node, upload, outcome)
        except (OSError, http.client.HTTPException) as error:
            problem = repr(error)
        if problem is None:
            outcome.take(upload)
        else:
            outcome.fail(kind, upload.name, problem)
        if over.is_set():
            return


def _put(node: Node, upload: _Upload, _: Outcome) -> str | None:
    length = {"Content-Length": str(len(upload.content))}
    return _unless(201, node.put(upload.name, _slowly(upload.content), upload.token, **length))


def _form(node: Node, upload: _Upload, _: Outcome) -> str | None:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{upload.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Authorization": f"Bearer {upload.token}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + len(upload.content) + len(tail)),
    }
    body = itertools.chain([head], _slowly(upload.content), [tail])
    return _unless(201, node.ask("POST", UPLOAD, body, headers))


def _tus(node: Node, upload: _Upload, outcome: Outcome) -> str | None:
    headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {upload.token}"}
    location, offset, until = "", 0, time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if not location:
                location = _create(node, headers, upload)
            reached = _append(node, headers, location, upload.content)
        except (OSError, http.client.HTTPException) as error:
            problem, reached = repr(error), offset
        except _Refused as refused:
            if refused.for_good:
                return str(refused)
            problem, reached = str(refused), offset
        if reached == len(upload.content):
            return None
        if reached > offset:
            offset, until = reached, time.monotonic() + PATIENCE
        outcome.go_on()
        time.sleep(1)
    return f"no further than {offset} bytes: {problem}"


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body[:200]!r}")
        # An upload in use elsewhere, its wrong offset and a crowd are over sooner or later.
        self.for_good = 400 <= answer.status < 500 and answer.status not in (408, 409, 423, 429)


def _create(node: Node, headers: dict[str, str], upload: _Upload) -> str:
    """The path of a new upload. Raises _Refused."""
    name = base64.b64encode(upload.name.encode()).decode()
    length = str(len(upload.content))
    sent = {**headers, "Upload-Length": length, "Upload-Metadata": f"filename {name}"}
    answer = _expect(201, node.ask("POST", UPLOADS, headers=sent))
    return urlsplit(answer.headers["Location"]).path


def _append(node: Node, headers: dict[str, str], location: str, content: bytes) -> int:
    """Send what is missing; returns the offset reached, in bytes. Raises _Refused."""
    answer = _expect(200, node.ask("HEAD", location, headers=headers))
    offset = int(answer.headers["Upload-Offset"])
    if offset == len(content):
        return offset
    sent = {
        **headers,
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(content) - offset),
    }
    answer = _expect(204, node.ask("PATCH", location, _slowly(content[offset:]), sent))
    return int(answer.headers["Upload-Offset"])


def _slowly(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        time.sleep(PAUSE)
        yield content[start : start + PIECE]


def _expect(status: int, answer: Answer) -> Answer:
    if answer.status != status:
        raise _Refused(answer)
    return answer


def _unless(status: int, answer: Answer) -> str | None:
    """What is wrong with an answer, unless it has this status."""
    return None if answer.status == status else f"{answer.status} {answer.body[:200]!r}"
