"""How far uploads are, in the log: begun, on the way, broken off; the commit has its own line.

A line on the way comes when another tenth is in, at most every ten seconds, and every minute
whatever came: few enough for a node full of uploads, enough to see that none hangs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

_log = structlog.get_logger()

AT_MOST_EVERY = 10.0
"""Seconds between two lines about one upload, while it goes fast."""

AT_LEAST_EVERY = 60.0
"""Seconds after which there is a line, as long as bytes come."""

_STEP = 10
"""Percent."""

_MOST_KNOWN = 1024
"""Uploads remembered from one of their requests to the next: far more than run at once."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A request's part of an upload. `key` is the upload's, `at` where its bytes begin."""

    key: str
    name: str
    owner: str
    total: int | None
    """Bytes of the whole; None where that is not known yet."""
    at: int = 0
    is_whole: bool = False
    """Whether no other request brings bytes of it."""


@dataclass(slots=True)
class _Told:
    """When the last line about an upload was written, and how far it was then."""

    moment: float
    size: int


class ProgressLog:
    """The uploads of one agent process. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def under_way(self, token_id: str) -> Iterator[None]:
        """A request brings bytes for this token, until they are stored or it has ended."""
        with self._lock:
            self._under_way[token_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[token_id] -= 1
                if not self._under_way[token_id]:
                    del self._under_way[token_id]

    def tokens_under_way(self) -> tuple[str, ...]:
        """The ids of the tokens for which bytes are coming now."""
        with self._lock:
            return tuple(self._under_way)

    @contextmanager
    def follow(self, transfer: Transfer) -> Iterator[Callable[[int], None]]:
        """Tell of a request's bytes: what is yielded takes how many have come by now."""
        told, is_new = self._known(transfer)
        if is_new:
            _say("upload begun" if not transfer.at else "upload goes on", transfer, transfer.at)
        came = 0

        def moved(size: int) -> None:
            nonlocal came
            came = size
            self._look(transfer, told, transfer.at + size)

        try:
            yield moved
        except Exception as error:
            _say("upload broken off", transfer, transfer.at + came, reason=_why(error))
            self._forget(transfer)
            raise
        is_over = transfer.total is not None and transfer.at + came >= transfer.total
        if transfer.is_whole or is_over:
            self._forget(transfer)

    def _known(self, transfer: Transfer) -> tuple[_Told, bool]:
        with self._lock:
            told = self._told.get(transfer.key)
            is_new = told is None
            if told is None:
                told = self._told[transfer.key] = _Told(self._clock(), transfer.at)
            self._told.move_to_end(transfer.key)
            if len(self._told) > _MOST_KNOWN:
                self._told.popitem(last=False)
        return told, is_new

    def _forget(self, transfer: Transfer) -> None:
        with self._lock:
            self._told.pop(transfer.key, None)

    def _look(self, transfer: Transfer, told: _Told, size: int) -> None:
        now = self._clock()
        passed = now - told.moment
        if passed < AT_MOST_EVERY:
            return
        is_further = transfer.total is not None and (
            (size - told.size) * 100 >= _STEP * transfer.total
        )
        if is_further or passed >= AT_LEAST_EVERY:
            rate = max(0, round((size - told.size) / passed))
            _say("upload in progress", transfer, size, bytes_per_second=rate)
            told.moment, told.size = now, size


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _say(event: str, transfer: Transfer, size: int, **more: object) -> None:
    percent = None if not transfer.total else min(100, 100 * size // transfer.total)
    _log.info(
        event,
        name=transfer.name,
        owner=transfer.owner,
        bytes=size,
        total=transfer.total,
        percent=percent,
        **more,
    )
