"""An upload in parts that travel side by side, each on a connection of its own.

A node lays parts out in the order in which they were created (tus, concatenation extension). So one
thread creates them all before the first byte, in file order, and they are sent in that order too: a
node can hash behind them, and joining them copies nothing.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial

from portside.client.http.errors import NodeUnavailable, UploadError
from portside.client.http.node import NodeClient
from portside.client.http.retry import Patience
from portside.client.upload.body import OpenFile
from portside.client.upload.hashing import ContentHash
from portside.client.upload.transfer import Transfer
from portside.client.upload.tus import Uploads
from portside.client.watcher import Watcher

MOST_WORKERS = 16

_PARTS_PER_WORKER = 16
"""Small parts: when the last byte is sent, the node has that much less left to hash."""

_SMALLEST_PART = 8 * 1024 * 1024
_LARGEST_PART = 1024 * 1024 * 1024

_MOST_PARTS = 100
"""The request that joins them names them all in one header of at most 8 KiB."""

_BLOCK = 4096
"""Parts begin at a multiple of this, as direct I/O wants it on the node."""

_END_SECONDS = 5.0
"""How long to wait for threads that were told to end; one may be deep in a system call."""


def part_size_for(size: int, workers: int) -> int:
    """Bytes of each part but the last, of a file of `size` bytes."""
    wanted = size // (_PARTS_PER_WORKER * workers)
    bounded = max(_SMALLEST_PART, min(wanted, _LARGEST_PART)) // _BLOCK * _BLOCK
    fewest = -(-size // _MOST_PARTS)
    return max(bounded, -(-fewest // _BLOCK) * _BLOCK)


def ranges(size: int, part_size: int) -> list[tuple[int, int]]:
    """Start and end of each part."""
    return [(start, min(start + part_size, size)) for start in range(0, size, part_size)]


class Parts:
    """The parts of one file at their `places`.

    `held` is what the node holds of each: 0 where they are new, None where it has to be asked.
    """

    def __init__(
        self,
        file: OpenFile,
        part_size: int,
        places: Sequence[str],
        held: int | None,
        content: ContentHash,
        watcher: Watcher,
    ) -> None:
        self._content = content
        self._watcher = watcher
        self._counts = [0] * len(places)
        self._total = 0
        self._transfers = [
            Transfer(file, start, end, place, held, self._on_sent(index), self._on_held(index))
            for index, ((start, end), place) in enumerate(
                zip(ranges(file.size, part_size), places, strict=True)
            )
        ]
        self._waiting = list(range(len(places)))
        self._running = 0
        self._told_until = 0.0
        self._error: BaseException | None = None
        self._gave_up: NodeUnavailable | None = None
        self._stop = threading.Event()
        # Guards everything above; notified when a part waits again or nothing runs any more.
        self._changed = threading.Condition()

    def ask(self, uploads: Uploads, patience: Patience) -> int:
        """How many bytes the node holds of all parts."""
        return sum(patience.call(partial(each.ask, uploads)) for each in self._transfers)

    def run(self, node: NodeClient, token: str, workers: int) -> None:
        """Send every part to its end. Raises what the first of them ends with, as Transfer does.

        A worker whose patience ends leaves its part to the others: the upload fails with the last.
        """
        threads = [
            threading.Thread(
                # Its requests belong to the trace that this one works on.
                target=copy_context().run,
                args=(self._work, node.another(), token),
                name=f"part-{number}",
                daemon=True,
            )
            for number in range(min(workers, len(self._transfers)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()
            with self._changed:
                self._changed.notify_all()
            deadline = time.monotonic() + _END_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        if self._waiting and self._gave_up is not None:
            raise self._gave_up

    def _work(self, node: NodeClient, token: str) -> None:
        uploads = Uploads(node, token)
        try:
            while (index := self._take()) is not None:
                self._send(index, uploads)
        except NodeUnavailable as reason:
            self._gave_up = reason
        finally:
            node.close()

    def _take(self) -> int | None:
        """The next part in file order; None when all are sent, or it makes no sense to go on."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or not self._running or self._stop.is_set()
            )
            if not self._waiting or self._stop.is_set():
                return None
            self._running += 1
            index = heapq.heappop(self._waiting)
        self._content.allow(self._transfers[index].end)
        return index

    def _send(self, index: int, uploads: Uploads) -> None:
        try:
            self._transfers[index].run(uploads, Patience(self._on_wait, self._sleep))
        except NodeUnavailable:
            with self._changed:
                heapq.heappush(self._waiting, index)
            raise
        except _Stopped:
            pass
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
            self._stop.set()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _on_sent(self, index: int) -> Callable[[int], None]:
        def sent(count: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            with self._changed:
                self._total += count - self._counts[index]
                self._counts[index] = count
                self._watcher.sent(self._total)

        return sent

    def _on_held(self, index: int) -> Callable[[int], None]:
        def held(count: int) -> None:
            with self._changed:
                before, self._total = self._total, self._total + count - self._counts[index]
                self._counts[index] = count
                if self._total != before:
                    self._watcher.back_at(self._total)

        return held

    def _on_wait(self, seconds: float, reason: NodeUnavailable) -> None:
        """Tell it once, not once for each worker that stands before the same closed door."""
        with self._changed:
            if time.monotonic() >= self._told_until:
                self._told_until = time.monotonic() + seconds
                self._watcher.waiting(seconds, reason)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped


class _Stopped(UploadError):
    """Another part has failed for good, or the upload was interrupted."""
