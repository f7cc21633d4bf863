"""What processes have written to their logs. Clients' words are in it, which may be any bytes."""

from __future__ import annotations

from pathlib import Path


def text_of(log: Path) -> str:
    """Everything in a log."""
    return log.read_text(encoding="utf-8", errors="replace")


def whole_lines_of(log: Path) -> list[str]:
    """Its lines but for one that is still being written."""
    whole, _, _ = text_of(log).rpartition("\n")
    return whole.split("\n") if whole else []
