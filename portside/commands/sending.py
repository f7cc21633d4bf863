"""What `portside put` does with each file wherever it goes: its manner, its size, its progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portside.client import LocalFileError, NodeUnavailable, Watcher
from portside.client.progress import Display, display
from portside.client.upload.body import sha256_of
from portside.commands.common import printable
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


def size_of(path: Path) -> int:
    """The file's size in bytes. Raises LocalFileError when there is no such file."""
    try:
        if not path.is_file():
            raise LocalFileError(f"{path}: is no file" if path.exists() else f"{path}: not found")
        return path.stat().st_size
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from None


def checksum_ahead(path: Path, size: int) -> str:
    """The file's SHA-256, with a progress of its own. Raises LocalFileError."""
    with display(path.name, size, WHEN_READ) as shown:
        return sha256_of(path, shown.sent)


def checksum_within(path: Path, shown: Display) -> str:
    """The same where a progress is shown already. Raises LocalFileError."""
    shown.start_over(WHEN_READ)
    known = sha256_of(path, shown.sent)
    shown.start_over(WHEN_SENT)
    return known
