"""What processes have written to their logs. Clients' words are in it, which may be any bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def text_of(log: Path) -> str:
    """Everything in a log."""
    return log.read_text(encoding="utf-8", errors="replace")


def whole_lines_of(log: Path) -> list[str]:
    """Its lines but for one that is still being written."""
    whole, _, _ = text_of(log).rpartition("\n")
    return whole.split("\n") if whole else []


def entries_of(log: Path) -> list[dict[str, Any]]:
    """What a log's lines of JSON say; gunicorn's own are not, where nobody has set it up."""
    return [json.loads(line) for line in whole_lines_of(log) if line.startswith("{")]
