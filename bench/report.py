"""Results for people and programs: a table, JSON, and a section of RESULTS.md.

RESULTS.md holds the last run of every bench: each owns the section with its name and leaves the
others alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TITLE = "# Results\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every column but the first is right-aligned."""
    lines = [
        f"| {' | '.join(heads)} |",
        f"| --- {'| ---: ' * (len(heads) - 1)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def replace_section(document: str, name: str, body: str) -> str:
    """`document` with the section `## name` replaced in place, or added at the end."""
    section = f"## {name}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search(document)
    if found is None:
        return f"{(document or _TITLE).rstrip()}\n\n{section}"
    rest = document[found.end() :]
    return document[: found.start()] + section + ("\n" + rest if rest else "")


def write_section(path: Path, name: str, body: str) -> None:
    """Put a section into the file at `path`, which need not exist yet."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    _replace(path, replace_section(before, name, body))


def write_json(path: Path, data: dict[str, Any]) -> None:
    """`data` for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps(data, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
