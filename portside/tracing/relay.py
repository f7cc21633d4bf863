"""Spans from one process to another on the same machine, which may go out to a collector.

A node's web side reads what strangers send and has no network at all (its unit's PrivateNetwork).
Its spans go to the worker, each as one datagram on a unix socket. A sender never waits: without a
receiver, or with too many that it hasn't read (net.unix.max_dgram_qlen), a span is dropped and
counted.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portside.tracing import otlp
from portside.tracing.otlp import Encoded
from portside.tracing.spans import Span

LONGEST = 64 * 1024
"""Bytes of a datagram; a span has some hundred, and a dozen KiB with the longest paths."""

_LOOK_EVERY = 1.0
"""Seconds between two looks at whether to stop."""


class Relay:
    """The sending side: a sink for spans (`portside.tracing.spans.record_to`). Thread-safe."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._dropped = 0

    def put(self, span: Span) -> None:
        """Send a span, or drop it."""
        data = json.dumps(otlp.encoded(span), ensure_ascii=False).encode(errors="replace")
        try:
            with _short(self._place) as place:
                self._socket.sendto(data, place)
        except OSError:
            # Nobody there, as while the worker starts, or nobody fast enough.
            with self._lock:
                self._dropped += 1

    def dropped(self) -> int:
        """Spans that didn't get through, since the start."""
        with self._lock:
            return self._dropped


def receive(place: Path, take: Callable[[Encoded], None], going: Callable[[], bool]) -> None:
    """Take what comes at `place` for as long as `going` says so, asked each second. Raises OSError
    where nothing can be received there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        # That of a process before this one: nobody listens there any more.
        place.unlink(missing_ok=True)
        with _short(place) as name:
            receiver.bind(name)
        place.chmod(0o600)
        receiver.settimeout(_LOOK_EVERY)
        while going():
            with suppress(TimeoutError):
                span = _span_in(receiver.recv(LONGEST))
                if span is not None:
                    take(span)


def _span_in(data: bytes) -> Encoded | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def _short(place: Path) -> Iterator[str]:
    """A name for a socket's place that fits into its address: a path there has at most 107 bytes
    (unix(7)), a data directory's may have more. Raises OSError.
    """
    folder = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)
