"""What a node was asked and what it said, kept outside of it: what checks compare with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from faults.checking.content import Content
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile

Way = Literal["put", "form", "tus", "parts"]


@dataclass
class Part:
    """One resumable upload: a whole file, or a part of one."""

    content: Content
    target: str | None = None
    """The path of its resource, once that was told."""
    told: int = 0
    """The highest offset that the node told."""


@dataclass
class Attempt:
    """One file under one token, and how far it came. One thread at a time works on it."""

    claims: UploadClaims
    token: str
    name: str
    way: Way
    content: Content
    parts: list[Part] = field(default_factory=list)
    """Of a resumable upload: one, or several that become one file."""
    cuts: int = 0
    """How often a crash ended a try at it."""
    finishing: bool = False
    """A request that completes the file was sent: it may have been carried out."""
    stored: StoredFile | None = None
    """The node's acknowledgement."""
    apart: bool = False
    """It was ended or deleted since, or that is under way: it needn't be in its place."""

    @property
    def resumable(self) -> bool:
        """Whether it can go on where it was cut."""
        return bool(self.parts)

    @property
    def offsets_told(self) -> int:
        """How many of its parts have an offset that was told."""
        return sum(part.told > 0 for part in self.parts)


class Journal:
    """Everything tried on one node since it was laid out. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[str, Attempt] = {}
        self._waiting: list[Attempt] = []

    def begin(self, attempt: Attempt) -> None:
        """An attempt is about to be made."""
        with self._lock:
            self._attempts[attempt.claims.file_id] = attempt

    def interrupt(self, attempt: Attempt) -> None:
        """An attempt was cut: it waits for someone to take it on."""
        with self._lock:
            attempt.cuts += 1
            self._waiting.append(attempt)

    def adopt(self) -> Attempt | None:
        """An attempt that was cut, to be gone on with; the oldest first."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def drop(self, attempt: Attempt) -> None:
        """Nobody goes on with this attempt."""
        with self._lock:
            self._waiting.remove(attempt)

    def forget(self, attempt: Attempt) -> None:
        """Its file was deleted: whatever is seen of it from now on is wrong."""
        with self._lock:
            del self._attempts[attempt.claims.file_id]

    def find(self, file_id: str) -> Attempt | None:
        """The attempt at a file."""
        return self._attempts.get(file_id)

    def waiting(self) -> list[Attempt]:
        """Attempts that were cut and that nobody has taken on."""
        with self._lock:
            return list(self._waiting)

    def acknowledged(self) -> list[Attempt]:
        """Attempts whose file must be there."""
        return [
            attempt
            for attempt in self._attempts.values()
            if attempt.stored is not None and not attempt.apart
        ]
