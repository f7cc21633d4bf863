"""One mistake of a cluster file: where it is and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mistake:
    """`key` is the path of the key, empty for the whole file; `line` counts from 1."""

    what: str
    key: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """`uploads.max_size: 'huge' is no size (line 7)`."""
        said = f"{self.key}: {self.what}" if self.key else self.what
        return said if self.line is None else f"{said} (line {self.line})"


def dotted(path: tuple[str | int, ...]) -> str:
    """A key's path as people write it: `hooks.0.events`."""
    return ".".join(map(str, path))
