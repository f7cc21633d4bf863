"""Results for people and programs: a table, JSON, and a section of RESULTS.md.

RESULTS.md holds the last run of every bench: each owns the section with its name and leaves the
others alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench.machine import Machine
from bench.promises import Verdict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TITLE = "# Results\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every column but the first is right-aligned."""
    lines = [
        f"| {' | '.join(heads)} |",
        f"| --- {'| ---: ' * (len(heads) - 1)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def print_table(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """The same table on the terminal."""
    table = Table(title=title)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Promises, met or not, on the terminal."""
    for verdict in verdicts:
        console.print(verdict.line(), style="green" if verdict.met else "red", highlight=False)


def section(
    title: str,
    facts: Sequence[str],
    tables: Sequence[str],
    verdicts: Sequence[Verdict],
    method: str,
) -> str:
    """The body of a section: what was measured on which machine, figures, promises, method."""
    parts = [
        f"{title}, {datetime.now(UTC):%Y-%m-%d}. `make bench` takes it again.",
        "\n".join(f"- {fact}" for fact in facts),
        *tables,
        "\n".join(f"- {verdict.line()}" for verdict in verdicts),
        method,
    ]
    return "\n\n".join(part.strip() for part in parts if part)


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


def write_figures(path: Path, machine: Machine, figures: DataclassInstance) -> None:
    """A run for programs: when, on which machine, everything that was measured."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"date": now, "machine": asdict(machine), **asdict(figures)})


def write_json(path: Path, data: dict[str, Any]) -> None:
    """`data` for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps(data, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
