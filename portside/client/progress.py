"""Showing an upload's progress: a bar on a terminal, now and then a line anywhere else.

Both write to stderr; stdout stays free for what a script wants to read.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from portside.quantities import format_duration, format_size

LINE_SECONDS = 10.0
"""A line this often keeps a log readable and shows that an upload of hours is alive."""


class Display(Protocol):
    """One file's progress."""

    def start_over(self, when_sent: str) -> None:
        """The file is gone through anew; `when_sent` is shown from the last byte on."""

    def sent(self, count: int) -> None:
        """`count` bytes have been sent so far."""

    def back_at(self, count: int) -> None:
        """The upload goes on from `count` bytes, which weren't sent just now."""

    def stalled(self, text: str) -> None:
        """Nothing travels for the moment; `text` is worth a line."""

    def say(self, text: str) -> None:
        """Something happened that is worth a line."""


class _Bar:
    def __init__(self, progress: Progress, label: str, size: int | None, when_sent: str) -> None:
        self._progress = progress
        self._label = label
        self._size = size
        self._when_sent = when_sent
        self._task = progress.add_task(label, total=size)

    def start_over(self, when_sent: str) -> None:
        self._when_sent = when_sent
        self.back_at(0)

    def sent(self, count: int) -> None:
        done = f"{self._label}: {self._when_sent}" if count == self._size else self._label
        self._progress.update(self._task, completed=count, description=done)

    def back_at(self, count: int) -> None:
        # Anew, for speed and time left: what was sent before is no measure of them.
        self._progress.reset(self._task, completed=count)
        self.sent(count)

    def stalled(self, text: str) -> None:
        self._progress.update(self._task, description=f"{self._label}: waiting to try again")
        self.say(text)

    def say(self, text: str) -> None:
        self._progress.console.print(f"{self._label}: {text}", markup=False, highlight=False)


class _Lines:
    def __init__(self, stream: TextIO, label: str, size: int | None, when_sent: str) -> None:
        self._stream = stream
        self._label = label
        self._size = size
        self._when_sent = when_sent
        self._started = self._last_line = time.monotonic()
        self._started_at = 0

    def start_over(self, when_sent: str) -> None:
        self._when_sent = when_sent
        self.back_at(0)

    def sent(self, count: int) -> None:
        now = time.monotonic()
        if count == self._size:
            self.say(f"100 %, {format_size(count)}; {self._when_sent}")
        elif now - self._last_line >= LINE_SECONDS:
            speed = max(1.0, (count - self._started_at) / (now - self._started))
            self.say(self._how_far(count, speed))
        else:
            return
        self._last_line = now

    def _how_far(self, count: int, speed: float) -> str:
        if self._size is None:
            return f"{format_size(count)} so far, {speed / 1e6:.1f} MB/s"
        return (
            f"{100 * count // self._size} %, {format_size(count)} of {format_size(self._size)}, "
            f"{speed / 1e6:.1f} MB/s, {format_duration((self._size - count) / speed)} left"
        )

    def back_at(self, count: int) -> None:
        self._started, self._started_at = time.monotonic(), count
        if count == self._size:
            self.sent(count)

    def stalled(self, text: str) -> None:
        self.say(text)

    def say(self, text: str) -> None:
        print(f"{self._label}: {text}", file=self._stream, flush=True)


@contextmanager
def display(label: str, size: int | None, when_sent: str) -> Iterator[Display]:
    """A display for one file of `size` bytes, if that is known.

    `when_sent` is shown from the last byte on.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("", "dumb"):
        yield _Lines(sys.stderr, label, size, when_sent)
        return
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        yield _Bar(progress, label, size, when_sent)
