"""Where a download goes, as fetching sees it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Output(Protocol):
    """The beginning of a file: `size` bytes of it have arrived."""

    size: int

    @property
    def can_begin_anew(self) -> bool:
        """Whether what has arrived can be thrown away, and gone on with by a later run."""

    @property
    def sha256(self) -> str:
        """Of what has arrived, in hex."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def take_over(self, most: int) -> None:
        """Go on from what an earlier run has left, unless that is more than `most` bytes."""

    def append(self, block: bytes) -> None:
        """Add what has arrived."""

    def clear(self) -> None:
        """Begin anew."""

    def finish(self) -> None:
        """All of it is there, and right."""
