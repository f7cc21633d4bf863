"""Uploading one file to one node in one request: send it, hear the answer, check its receipt."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import requests

from portside.backoff import spread
from portside.client.http.errors import NodeUnavailable, Refused, slug_of
from portside.client.http.node import NodeClient, failure, stored_file
from portside.client.upload.body import FileBody, Progress, ignore_progress, sha256_of
from portside.client.upload.receipt import Sent, check_receipt
from portside.digest import format_repr_digest
from portside.tokens import unverified_claims
from portside.wire import paths
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset

ATTEMPTS = 4
LONGEST_PAUSE = 60.0

BARELY_BEGUN = 16 * 1024 * 1024
"""Up to here, bytes count as not taken: socket buffers hold as much while a refusal travels."""

Waiting = Callable[[float, NodeUnavailable], None]
"""Called with the seconds until the next attempt and why it is needed."""


def _wait_in_silence(seconds: float, reason: NodeUnavailable) -> None:
    pass


class UploadClient:
    """Uploads to one node. `base_url` is its public one (`https://s01.example.net`).

    `ca` is a PEM file to trust instead of the system's authorities. Not for use by several threads
    at once. Raises ValueError for a URL that would send tokens in the clear.
    """

    def __init__(self, base_url: str, ca: Path | None = None) -> None:
        self.node = NodeClient(base_url, ca)

    @property
    def base_url(self) -> str:
        """The node's URL, without a path."""
        return self.node.base_url

    def close(self) -> None:
        """Close the connections."""
        self.node.close()

    def node_keys(self) -> Keyset:
        """The keys the node signs receipts with. Raises NodeUnavailable and Refused."""
        return self.node.keys()

    def put(
        self,
        path: Path,
        token: str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        on_progress: Progress = ignore_progress,
        on_wait: Waiting = _wait_in_silence,
    ) -> StoredFile:
        """Upload the file at `path` and return what the node stored, its receipt verified.

        `name` replaces the file's own name; `sha256` (hex), if known ahead, is checked by the node
        as well. While the node is full (503 with Retry-After) and hasn't taken the body, it is
        asked again up to 3 times. A token that has stored this very file already (the answer to an
        earlier attempt got lost) is a success. Raises LocalFileError, Refused, NodeUnavailable,
        ReceiptRefused, and TokenRefused for a token that is none.
        """
        claims = unverified_claims(token)
        # Asked first: a wrong URL or CA shows before the first gigabyte, not after the last.
        self.node.keys()
        place = _upload_path(claims.get("name") or name or path.name)
        with FileBody(path, on_progress) as body:
            try:
                stored = stored_file(self._put_patiently(place, token, body, sha256, on_wait))
            except Refused as refused:
                stored = stored_before(self.node, str(claims.get("file_id")), path, refused)
            complete = body.sent == body.size
            sent = Sent.of(claims, body.size, body.sha256() if complete else sha256_of(path))
        check_receipt(stored, self.node.keys_for(stored.receipt), sent)
        return stored

    def _put_patiently(
        self, place: str, token: str, body: FileBody, sha256: str | None, on_wait: Waiting
    ) -> requests.Response:
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return self._put_once(place, token, body, sha256)
            except NodeUnavailable as unavailable:
                pause = unavailable.retry_after
                if not attempts_left or pause is None or body.sent > BARELY_BEGUN:
                    raise
                pause = spread(min(pause, LONGEST_PAUSE), (1.0, 1.5))
                on_wait(pause, unavailable)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _put_once(
        self, place: str, token: str, body: FileBody, sha256: str | None
    ) -> requests.Response:
        headers = {"Content-Type": "application/octet-stream"}
        if sha256:
            headers["Repr-Digest"] = format_repr_digest(sha256)
        answer = self.node.send("PUT", place, token, headers, body)
        if answer.status_code not in (200, 201):
            raise failure(answer)
        return answer


def stored_before(node: NodeClient, file_id: str, path: Path, refused: Refused) -> StoredFile:
    """What a used token has stored, if that is the file at `path`; else raises `refused`."""
    if slug_of(refused.problem) != "token-used":
        raise refused
    answer = node.ask("GET", f"{paths.FILES}/{quote(file_id, safe='')}")
    if answer.status_code != 200:
        raise refused
    stored = stored_file(answer)
    if stored.sha256 != sha256_of(path):
        raise refused
    return stored


def _upload_path(name: str) -> str:
    try:
        return f"{paths.UPLOAD}/{quote(name, safe='')}"
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: the name is no valid Unicode: rename the file") from None
