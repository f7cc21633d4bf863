"""From connection to disk with a fixed amount of memory: receive, write and hash at the same time.

A ring of a few buffers goes round between three threads: the request's own fills one from the body,
a second writes it to the staging file, a third hashes it; whoever is last gives it back. When the
last byte is in, at most the ring is left to write and hash, whatever the file's size.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol

from agent.incoming.body import Body, BodyCut
from agent.storage.sniffing import HEAD_SIZE
from agent.storage.staging import StagingFile
from portside.sizing import Sizing


class BodyTooLarge(Exception):
    """More bytes than the token allows."""


class Consumer(Protocol):
    """Sees every byte in order, in a thread of its own; the memory is reused afterwards."""

    def __call__(self, data: memoryview, /) -> object:
        """Take in the next bytes."""


def receive(
    body: Body,
    staging: StagingFile,
    sizing: Sizing,
    limit: int,
    consumers: Sequence[Consumer],
    check_head: Callable[[bytes], None] = lambda head: None,
    at_end: Callable[[], None] = lambda: None,
    moved: Callable[[int], None] = lambda size: None,
) -> int:
    """Take `body` to its end into `staging`, every byte past `consumers`; returns how many came.

    `check_head` sees the first bytes before any is written and may refuse by raising. `at_end`
    hears that the last byte is in, before it is written; `moved` how many came so far. Raises
    BodyTooLarge past `limit`, whatever
    `body` raises when it is cut, DiskFull and DiskFailed. What came before a cut is written and
    consumed when this raises.
    """
    size = 0
    with _Ring(sizing, (staging.write, *consumers)) as ring:
        while True:
            buffer = ring.free_buffer()
            # From an odd place, a short piece first: the rest can then bypass the page cache.
            room = buffer.memory[: staging.until_aligned() if size == 0 else None] or buffer.memory
            try:
                filled = body.fill(room)
            except BodyCut as cut:
                if size + cut.filled <= limit:
                    ring.hand_over(buffer, cut.filled)
                raise
            if size == 0:
                check_head(bytes(buffer.memory[: min(filled, HEAD_SIZE)]))
            if filled == 0:
                break
            size += filled
            if size > limit:
                raise BodyTooLarge
            ring.hand_over(buffer, filled)
            moved(size)
        at_end()
        ring.finish()
    return size


def read_through(body: Body, sizing: Sizing, limit: int, consumers: Sequence[Consumer]) -> int:
    """Take `body` to its end without storing it; returns how many bytes came.

    Raises BodyTooLarge past `limit`, and whatever `body` raises when it is cut.
    """
    size = 0
    buffer = _Buffer(sizing.ring_buffer)
    while filled := body.fill(buffer.memory):
        size += filled
        if size > limit:
            raise BodyTooLarge
        for consume in consumers:
            consume(buffer.memory[:filled])
    return size


class _Buffer:
    """Page-aligned memory, as direct I/O wants it; `users` counts who still reads it."""

    def __init__(self, size: int) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.memory = memoryview(mmap.mmap(-1, size, flags=private))
        self.filled = 0
        self.users = 0


class _Ring:
    """The buffers, and one thread for each consumer of full ones.

    Leaving the context ends the threads; what was handed over by then is still consumed.
    """

    def __init__(self, sizing: Sizing, consumers: Sequence[Consumer]) -> None:
        self._size = sizing.ring_buffer
        self._unmade = sizing.ring_buffers
        self._free: SimpleQueue[_Buffer] = SimpleQueue()
        self._lock = threading.Lock()
        self._consumers = tuple(_Consumer(act, self._release) for act in consumers)

    def __enter__(self) -> _Ring:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for consumer in self._consumers:
            consumer.stop()
        # Ring and consumers know each other: without this the buffers would stay until the garbage
        # collector comes by.
        self._consumers = ()

    def free_buffer(self) -> _Buffer:
        """A buffer that may be filled. Raises what a consumer raised, as soon as it has.

        Made when first needed: a small file needs only one.
        """
        if self._free.empty() and self._unmade:
            self._unmade -= 1
            return _Buffer(self._size)
        buffer = self._free.get()
        for consumer in self._consumers:
            consumer.check()
        return buffer

    def hand_over(self, buffer: _Buffer, filled: int) -> None:
        """Give every consumer the first `filled` bytes of `buffer`."""
        buffer.filled = filled
        buffer.users = len(self._consumers)
        for consumer in self._consumers:
            consumer.put(buffer)

    def finish(self) -> None:
        """Wait until everything is consumed. Raises what a consumer raised."""
        for consumer in self._consumers:
            consumer.stop()
            consumer.check()

    def _release(self, buffer: _Buffer) -> None:
        with self._lock:
            buffer.users -= 1
            last = buffer.users == 0
        if last:
            self._free.put(buffer)


class _Consumer:
    """A thread that does one thing with each full buffer, in order, until it fails once."""

    def __init__(self, act: Consumer, release: Callable[[_Buffer], None]) -> None:
        self._act = act
        self._release = release
        self._full: SimpleQueue[_Buffer | None] = SimpleQueue()
        self._failed = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, buffer: _Buffer) -> None:
        """Consume `buffer` soon."""
        self._full.put(buffer)

    def check(self) -> None:
        """Raise what went wrong in the thread, once, if anything has."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def stop(self) -> None:
        """Consume what is left, then end the thread."""
        self._full.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (buffer := self._full.get()) is not None:
            # After a failure buffers still go round, so that the receiver comes to hear of it.
            if not self._failed:
                try:
                    self._act(buffer.memory[: buffer.filled])
                except Exception as error:
                    self._failed, self._error = True, error
            self._release(buffer)
