"""What `portside put` does with each file wherever it goes: its manner, its size, its progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portside.client import NodeUnavailable, Watcher
from portside.client.progress import Display, display
from portside.client.upload.body import sha256_of
from portside.client.upload.source import STDIN, name_of
from portside.client.upload.stream import Stream
from portside.client.upload.streamed import StreamUpload
from portside.commands.common import printable, say
from portside.quantities import MIB, format_duration
from portside.wire.fields import Layout

WHEN_READ = "checksum known"
WHEN_SENT = "verifying on the node"

RESUMABLE_FROM = 16 * MIB
"""Files larger than this are worth the three requests that an upload takes which can be resumed."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How each file is to be stored."""

    namespace: str
    layout: Layout
    owner: str
    checksum: bool
    parallel: int
    resume: bool
    name: str | None = None
    """In place of the file's own."""
    max_size: int | None = None
    """The most bytes that a stream may bring."""
    expires_in: int | None = None
    """Seconds from its commit after which the file ends by itself."""

    def name_of(self, path: Path) -> str:
        """What the file is called once it is stored. Raises ValueError where nothing says it."""
        return self.name or name_of(path)

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes another upload of the same file."""
        named = () if self.name is None else (f"name {self.name}",)
        ends = () if self.expires_in is None else (f"expires in {self.expires_in}",)
        return (self.namespace, self.layout, self.owner, *named, *ends)

    def resumable(self, size: int) -> bool:
        """Whether a file of `size` bytes goes in an upload that a later run can go on with."""
        return self.resume and (size > RESUMABLE_FROM or self.parallel > 1)


class Teller(Watcher):
    """Shows an upload's progress; what comes from the node is made safe for a terminal."""

    def __init__(self, shown: Display) -> None:
        self._shown = shown

    def sent(self, count: int) -> None:
        self._shown.sent(count)

    def back_at(self, count: int) -> None:
        self._shown.back_at(count)

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        wait = format_duration(seconds)
        self._shown.stalled(f"{printable(str(reason))}; trying again in {wait}")

    def say(self, text: str) -> None:
        self._shown.say(printable(text))


@contextmanager
def stream_upload(path: Path, manner: Manner) -> Iterator[StreamUpload]:
    """What a stream brings, its progress shown. Raises LocalFileError and ValueError."""
    name = manner.name_of(path)
    if manner.checksum:
        raise ValueError(
            f"{path}: a stream can't be read before it is sent: leave out --checksum; the receipt "
            "proves its SHA-256 all the same"
        )
    if path == STDIN and sys.stdin.isatty():
        say("reading what is typed, until Ctrl-D")
    with Stream(path) as stream, display(name, None, WHEN_SENT) as shown:
        yield StreamUpload(stream, name, Teller(shown))


def checksum_ahead(path: Path, size: int) -> str:
    """The file's SHA-256, with a progress of its own. Raises LocalFileError."""
    with display(printable(path.name), size, WHEN_READ) as shown:
        return sha256_of(path, shown.sent)


def checksum_within(path: Path, shown: Display) -> str:
    """The same where a progress is shown already. Raises LocalFileError."""
    shown.start_over(WHEN_READ)
    known = sha256_of(path, shown.sent)
    shown.start_over(WHEN_SENT)
    return known
