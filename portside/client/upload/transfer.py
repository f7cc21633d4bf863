"""Bringing a range of a file into an upload on a node, however often it is cut off.

One request streams everything from the offset on. When it fails, the node is asked how much it
holds, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable

from portside.client.http.errors import NodeUnavailable, ReceiptRefused
from portside.client.http.retry import Patience
from portside.client.upload.body import BLOCK, OpenFile, Range
from portside.client.upload.tus import Appended, Uploads
from portside.wire.files import StoredFile

Count = Callable[[int], None]


class Transfer:
    """The bytes of `file` from `start` up to `end`, and the upload at `place` that they go to.

    `on_sent` hears how many of them were sent, `on_held` how many the node holds where that isn't
    the same. `held` is what the node holds at the start: nothing of a new upload; None asks it.
    """

    def __init__(
        self,
        file: OpenFile,
        start: int,
        end: int,
        place: str,
        held: int | None,
        on_sent: Count,
        on_held: Count,
    ) -> None:
        self.start = start
        self.end = end
        self._file = file
        self._place = place
        self._held = held
        self._on_sent = on_sent
        self._on_held = on_held
        # The most that an offset may tell; what an earlier run has sent is unknown until asked.
        self._sent_to = held

    @property
    def _length(self) -> int:
        return self.end - self.start

    def run(self, uploads: Uploads, patience: Patience) -> StoredFile | None:
        """Send what is missing; returns the stored file if the answer to the last byte told of it.

        Raises LocalFileError, Refused, ReceiptRefused, and NodeUnavailable when `patience` ends.
        """
        furthest = -1
        while True:
            try:
                held = self.ask(uploads) if self._held is None else self._held
                if held > furthest:
                    patience.reward()
                    furthest = held
                appended = self._append(uploads, held)
            except NodeUnavailable as reason:
                patience.wait(reason)
                self._held = None
            else:
                if appended.offset == self._length:
                    return appended.stored
                # It took a piece only: by asking, what it holds is told and counted.
                self._held = None

    def ask(self, uploads: Uploads) -> int:
        """How much the node holds, asked now. Raises as `run`, but never waits."""
        held = uploads.offset(self._place, self._length)
        if self._sent_to is not None and held > self._sent_to:
            raise ReceiptRefused(
                f"the node claims to hold {held} bytes, of which {self._sent_to} were ever sent"
            )
        self._sent_to = max(held, self._sent_to or 0)
        self._held = held
        self._on_held(held)
        return held

    def _append(self, uploads: Uploads, begun: int) -> Appended:
        end = self.end
        body = Range(self._file, self.start + begun, end, lambda sent: self._on_sent(begun + sent))
        try:
            appended = uploads.append(self._place, begun, self._length, body)
        finally:
            # Of the block that was being sent, any part may have arrived.
            on_its_way = min(begun + body.sent + BLOCK, self._length)
            self._sent_to = max(self._sent_to or 0, on_its_way)
        if appended.offset == begun < self._length:
            raise NodeUnavailable(f"the node took none of {len(body)} bytes")
        return appended
