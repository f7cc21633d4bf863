"""The requests of a resumable upload (tus 1.0, tus.io/protocols/resumable-upload), one by one.

Creation, concatenation and termination of the tus extensions are used. When to try again, and where
to go on, is decided elsewhere (`transfer`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from portside.client.http.errors import (
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadGone,
    slug_of,
)
from portside.client.http.node import VERIFY_SECONDS, NodeClient, failure, stored_file
from portside.client.upload.body import Range
from portside.digest import format_repr_digest
from portside.wire import paths
from portside.wire.files import StoredFile

_VERSION = {"Tus-Resumable": "1.0.0"}
_AS_JSON = {"Accept": "application/json"}
_PLACE = re.compile(re.escape(paths.RESUMABLE_UPLOADS) + r"/[A-Za-z0-9_-]{1,128}")
_DISCARD_SECONDS = 5.0
"""A courtesy that nobody, least of all who interrupts an upload, should wait for."""

_DIGITS = 18
"""Of an offset: more than any file has bytes."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Appended:
    """What a node said after some bytes: how many it holds; all of them make a stored file."""

    offset: int
    stored: StoredFile | None


class Uploads:
    """The uploads of one token on one node. A `place` is the path of an upload's URL.

    Everything here raises NodeUnavailable, Refused (UploadGone where only a new upload helps) and
    ReceiptRefused.
    """

    def __init__(self, node: NodeClient, token: str) -> None:
        self._node = node
        self._token = token

    def create(
        self, length: int | None, name: str, sha256: str | None = None, *, part: int | None = None
    ) -> str | StoredFile:
        """Begin an upload of `length` bytes and return its place. The same again is the same one.

        Without a length, the last `append` tells it. A token that has stored its file already
        brings that. With the number of a `part` it is one of those that `finish` joins.
        """
        told = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        headers = {**_VERSION, **_AS_JSON, **_named(name, part), **told}
        if part is not None:
            headers["Upload-Concat"] = "partial"
        if sha256:
            headers["Repr-Digest"] = format_repr_digest(sha256)
        answer = self._node.ask(
            "POST", paths.RESUMABLE_UPLOADS, self._token, headers, VERIFY_SECONDS
        )
        if answer.status_code not in (200, 201):
            raise failure(answer)
        return stored_file(answer) if answer.content else self._place(answer)

    def offset(self, place: str, length: int) -> int:
        """How many of its `length` bytes the node holds, safe on disk."""
        answer = self._node.ask("HEAD", place, self._token, _VERSION)
        if answer.status_code not in (200, 204):
            raise _failure_of_upload(answer)
        told = answer.headers.get("Upload-Length", str(length))
        if told != str(length):
            raise ReceiptRefused(f"the node has an upload of {told} bytes here, not of {length}")
        return _offset(answer, length)

    def held(self, place: str, most: int) -> int:
        """How many bytes of an upload without a length, at most `most`, the node holds on disk."""
        answer = self._node.ask("HEAD", place, self._token, _VERSION)
        if answer.status_code not in (200, 204):
            raise _failure_of_upload(answer)
        return _offset(answer, most)

    def append(
        self, place: str, offset: int, length: int, body: Range, *, ends: bool = False
    ) -> Appended:
        """Send `body` at `offset`. The last byte of a whole upload makes it a stored file.

        `ends`: that byte is in here, and `length` was not told before.
        """
        headers = {
            **_VERSION,
            **_AS_JSON,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            **({"Upload-Length": str(length)} if ends else {}),
        }
        answer = self._node.send("PATCH", place, self._token, headers, body)
        if answer.status_code == 200:
            return Appended(length, stored_file(answer))
        if answer.status_code != 204:
            raise _failure_of_upload(answer)
        return Appended(_offset(answer, min(length, offset + len(body))), None)

    def finish(self, parts: Sequence[str], name: str, sha256: str | None = None) -> StoredFile:
        """Join complete parts, in this order, to the stored file. The same again is the same."""
        # Paths, not URLs: a hundred of them fit into one header, which takes 8 KiB at most.
        headers = {
            **_VERSION,
            **_AS_JSON,
            **_named(name),
            "Upload-Concat": "final;" + " ".join(parts),
        }
        if sha256:
            headers["Repr-Digest"] = format_repr_digest(sha256)
        answer = self._node.ask(
            "POST", paths.RESUMABLE_UPLOADS, self._token, headers, VERIFY_SECONDS
        )
        if answer.status_code not in (200, 201):
            raise _failure_of_upload(answer)
        return stored_file(answer)

    def discard(self, place: str) -> None:
        """End the upload: its space is given back."""
        answer = self._node.ask("DELETE", place, self._token, _VERSION, _DISCARD_SECONDS)
        if answer.status_code != 204:
            raise _failure_of_upload(answer)

    def _place(self, answer: requests.Response) -> str:
        """The path that Location names. The token follows it, so it must be on this very node."""
        location = answer.headers.get("Location", "")
        try:
            found = urlsplit(urljoin(self._node.base_url + paths.RESUMABLE_UPLOADS, location))
            is_here = _origin(found) == _origin(urlsplit(self._node.base_url))
        except ValueError:
            # No URL at all, or a port that is none.
            raise NodeUnavailable(
                f"{self._node.base_url}: names no upload ({location!r}): is this a node?",
                passing=False,
            ) from None
        if not is_here:
            raise NodeUnavailable(
                f"{self._node.base_url}: names the upload {location}, which is elsewhere: the "
                "token doesn't go there; use the URL that the node goes by, or --no-resume",
                passing=False,
            )
        if not is_place(found.path):
            raise NodeUnavailable(
                f"{self._node.base_url}: names no upload ({location!r}): is this a node?",
                passing=False,
            )
        return found.path


def is_place(path: str) -> bool:
    """Whether this is the path of an upload's URL."""
    return _PLACE.fullmatch(path) is not None


def _named(name: str, part: int | None = None) -> dict[str, str]:
    """Upload-Metadata; the number of a part is how the node knows one that is created twice."""
    try:
        pairs = [f"filename {_in_base64(name)}"]
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: the name is no valid Unicode: rename the file") from None
    if part is not None:
        pairs.append(f"part {_in_base64(str(part))}")
    return {"Upload-Metadata": ",".join(pairs)}


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _offset(answer: requests.Response, most: int) -> int:
    told = answer.headers.get("Upload-Offset", "")
    if not (told.isascii() and told.isdigit() and len(told) <= _DIGITS):
        raise NodeUnavailable(f"the answer tells no offset ({told[:40]!r}): is this a node?")
    if int(told) > most:
        raise ReceiptRefused(
            f"the node claims to hold {told} bytes: more than the {most} there are"
        )
    return int(told)


def _failure_of_upload(answer: requests.Response) -> Refused | NodeUnavailable:
    """As `failure`, where 404 and 410 mean that there is no such upload any more."""
    failed = failure(answer)
    if isinstance(failed, Refused):
        if answer.status_code in (404, 410):
            return UploadGone(failed.problem)
        if slug_of(failed.problem) == "offset-mismatch":
            # An answer was lost, or another has sent something: asking for the offset helps.
            return NodeUnavailable(str(failed), failed.problem, retry_after=0)
    return failed


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)
