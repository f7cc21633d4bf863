"""The few requests of tus 1.0 that an upload needs, for our node and for the peer alike."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from faults.causing.connection import Answer, Connection

_VERSION = {"Tus-Resumable": "1.0.0"}
_PATCH_TYPE = "application/offset+octet-stream"


class Refused(Exception):
    """An answer that doesn't let the upload go on."""

    def __init__(self, doing: str, answer: Answer) -> None:
        super().__init__(f"{doing}: {answer.words}")
        self.status = answer.status


def create(
    connection: Connection,
    target: str,
    length: int,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Make an upload of `length` bytes (creation). Raises Refused, NodeGone."""
    sent = {**_VERSION, "Upload-Length": str(length), **(headers or {})}
    return _expect(connection.ask("POST", target, sent), "POST", 200, 201)


def concatenate(
    connection: Connection, target: str, parts: list[str], headers: Mapping[str, str]
) -> Answer:
    """Make one file of complete parts (concatenation). Raises Refused, NodeGone."""
    sent = {**_VERSION, "Upload-Concat": f"final;{' '.join(parts)}", **headers}
    return _expect(connection.ask("POST", target, sent), "POST of the final", 200, 201)


def offset_of(connection: Connection, target: str, headers: Mapping[str, str] | None = None) -> int:
    """Where the upload goes on. Raises Refused, NodeGone."""
    answer = connection.ask("HEAD", target, {**_VERSION, **(headers or {})})
    return offset_in(_expect(answer, f"HEAD {target}", 200, 204))


def append(
    connection: Connection,
    target: str,
    offset: int,
    data: memoryview,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send the bytes from `offset` on. Raises Refused, NodeGone."""
    own = {"Content-Type": _PATCH_TYPE, "Upload-Offset": str(offset), "Accept": "application/json"}
    answer = connection.ask("PATCH", target, {**_VERSION, **own, **(headers or {})}, data)
    return _expect(answer, f"PATCH {target} from {offset}", 200, 204)


def target_in(answer: Answer) -> str:
    """The path of the upload that was made; its host is that of a name the tests don't have."""
    location = answer.headers.get("location")
    if location is None:
        raise Refused("an answer without Location", answer)
    return urlsplit(location).path


def offset_in(answer: Answer) -> int:
    """The offset that an answer tells."""
    offset = answer.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise Refused("an answer without Upload-Offset", answer)
    return int(offset)


def _expect(answer: Answer, doing: str, *statuses: int) -> Answer:
    if answer.status not in statuses:
        raise Refused(doing, answer)
    return answer
