"""What is measured: servers that take one file through nginx, behind one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.http_client import Answer, Request
from bench.source import Source
from portside.sizing import Sizing


@dataclass(frozen=True, slots=True)
class Ground:
    """What a contender is given: an empty folder of its own on the measured disk, and facts."""

    directory: Path
    socket: Path
    """A short path for a Unix socket: their length is limited (unix(7))."""
    packages: Path
    source: Source
    sizing: Sizing


class Service(Protocol):
    """A contender's running servers."""

    port: int
    """nginx's, on loopback."""

    nginx: int
    """Process id of nginx's master."""

    @property
    def backends(self) -> Sequence[int]:
        """Process ids of what stands behind nginx; empty when nginx does it alone."""

    def next_upload(self) -> Request:
        """The next upload's request; whatever must come before it has been done. Not timed."""

    def stored_sha256(self, answer: Answer) -> str:
        """The hex digest of what is stored now. Not timed."""

    def clear(self) -> None:
        """Remove what was stored. Not timed."""


class Contender(Protocol):
    """A server to be measured."""

    name: str
    """Short, as `--only` takes it."""

    promises: str
    """What it does before it answers, beyond storing: hashing, syncing."""

    def version(self, packages_directory: Path) -> str:
        """What was measured, for the record."""

    def serving(self, ground: Ground) -> AbstractContextManager[Service]:
        """Its servers, until the context ends."""
