"""Uploading a stream: its length is told at its end, and what was cut off is sent once more.

It travels window by window (`stream`), as a resumable upload whose length is deferred (tus 1.0,
creation-defer-length). What the node has told to hold is on its disk, so that a window is let go
of. A later run can't go on with it: what fails for good is discarded on the node at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from portside.client.http.errors import (
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    UploadError,
)
from portside.client.http.retry import Patience
from portside.client.upload.body import Range
from portside.client.upload.receipt import Sent, check_receipt
from portside.client.upload.single import UploadClient
from portside.client.upload.stream import Stream, Window
from portside.client.upload.tus import Appended, Uploads
from portside.client.watcher import Watcher
from portside.tokens import unverified_claims
from portside.wire.files import StoredFile


class StreamUpload:
    """An open stream on its way to a node; `name` counts where the token has none."""

    def __init__(self, stream: Stream, name: str, watcher: Watcher) -> None:
        self.has_begun = False
        """Whether a node was asked to take bytes: no other one can have the whole stream then."""
        self._stream = stream
        self._name = name
        self._watcher = watcher
        self._windows = stream.windows()
        self._first: Window | None = None

    def size(self) -> int | None:
        """The stream's length in bytes if all of it fits into one window; waits for that one."""
        self._first = self._first or next(self._windows)
        return self._first.end if self._first.is_last else None

    def put(self, client: UploadClient, token: str, *, patiently: bool = True) -> StoredFile:
        """Bring it to the node and return what that stored, its receipt verified.

        Cuts are mended until ten attempts have brought no byte; for a node that doesn't begin
        nobody waits unless `patiently`. Raises LocalFileError, Refused, NodeUnavailable,
        ReceiptRefused, and TokenRefused for a token that is none.
        """
        claims = unverified_claims(token)
        client.node_keys()
        uploads = Uploads(client.node, token)
        patience = Patience(self._watcher.waiting)
        name, size = str(claims.get("name") or self._name), self.size()

        def create() -> str | StoredFile:
            return uploads.create(size, name)

        begun = patience.call(create) if patiently else create()
        self.has_begun = True
        if isinstance(begun, StoredFile):
            # It is empty, or the token was used before: the receipt tells for what.
            stored, end = begun, self._read_through()
        else:
            transfer = _Transfer(uploads, begun, patience, self._watcher, deferred=size is None)
            try:
                stored, end = self._send(transfer, claims.get("size") or claims.get("max_size"))
            except BaseException:
                # Out of courtesy: at the upload's deadline the node does the same by itself.
                with suppress(UploadError):
                    uploads.discard(begun)
                raise
        keys = client.node.keys_for(stored.receipt)
        check_receipt(stored, keys, Sent.of(claims, end, self._stream.sha256()))
        return stored

    def _send(self, transfer: _Transfer, limit: int | None) -> tuple[StoredFile, int]:
        """What the node stored of all windows, and how many bytes they were."""
        for window in self._each_window():
            if limit is not None and window.end > limit:
                raise LocalFileError(
                    f"{self._stream.path}: is longer than the {limit} bytes that there is room for "
                    "on the node: say --max-size, or use a token for more"
                )
            stored = transfer.bring(window)
            if stored is not None:
                return stored, window.end
        raise ReceiptRefused("the node holds every byte, but tells of no stored file")

    def _each_window(self) -> Iterator[Window]:
        # Not kept beyond its turn: it is large.
        first, self._first = self._first, None
        if first is not None:
            yield first
        del first
        yield from self._windows

    def _read_through(self) -> int:
        end = 0
        for window in self._each_window():
            end = window.end
        return end


@dataclass(frozen=True, slots=True)
class _Transfer:
    """The upload at `place`; `deferred`: the node doesn't know its length yet."""

    uploads: Uploads
    place: str
    patience: Patience
    watcher: Watcher
    deferred: bool

    def bring(self, window: Window) -> StoredFile | None:
        """Have the node hold a window; the last one makes a stored file.

        The last one is appended also where the node holds it: its answer was lost.

        Raises LocalFileError, Refused, ReceiptRefused, and NodeUnavailable when patience ends.
        """
        held: int | None = window.start
        furthest = -1
        while True:
            try:
                held = self._held(window) if held is None else held
                if held > furthest:
                    self.patience.reward()
                    furthest = held
                if held == window.end and not window.is_last:
                    return None
                appended = self._append(window, held)
            except NodeUnavailable as reason:
                self.patience.wait(reason)
                held = None
                continue
            held = appended.offset
            if appended.stored is not None:
                return appended.stored

    def _held(self, window: Window) -> int:
        held = self.uploads.held(self.place, window.end)
        if held < window.start:
            raise ReceiptRefused(
                f"the node holds {held} bytes, but has told before that it holds {window.start}"
            )
        self.watcher.back_at(held)
        return held

    def _append(self, window: Window, begun: int) -> Appended:
        body = Range(window, begun, window.end, lambda sent: self.watcher.sent(begun + sent))
        ends = self.deferred and window.is_last
        appended = self.uploads.append(self.place, begun, window.end, body, ends=ends)
        if appended.offset == begun and appended.stored is None:
            raise NodeUnavailable(f"the node took none of {len(body)} bytes")
        return appended
