"""Rebuild the index from what is on disk: the attributes beside each file are the truth.

Runs beside a working agent: rows are added or corrected from the attributes found, and only rows
whose file is gone are removed. What can't be indexed is reported and left where it is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from agent.attributes import Attributes
from agent.index import Index
from agent.settings import Settings
from portside.names import ATTRIBUTES_SUFFIX

_log = structlog.get_logger()

_BATCH = 500
"""Files per transaction: a running agent's commits wait no longer than one takes."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Files indexed, rows removed because their file is gone, and what could not be indexed."""

    indexed: int
    removed: int
    refused: tuple[str, ...]


def reindex(settings: Settings) -> Rebuilt:
    """Bring the index in line with the files. An index that is no database is put aside first."""
    _put_aside_if_broken(settings.index)
    index = Index(settings.index)
    refused: list[str] = []
    indexed = 0
    batch: list[Attributes] = []
    for path in sorted(settings.uploads.rglob(f"*{ATTRIBUTES_SUFFIX}")):
        found = _read(settings, path)
        if isinstance(found, str):
            refused.append(found)
            _log.warning("not indexed", reason=found)
            continue
        batch.append(found)
        if len(batch) == _BATCH:
            indexed += _store(index, batch, refused)
            batch = []
    indexed += _store(index, batch, refused)
    removed = index.remove_missing(lambda path: (settings.uploads / path).exists())
    index.close()
    return Rebuilt(indexed, removed, tuple(refused))


def _store(index: Index, batch: list[Attributes], refused: list[str]) -> int:
    clashes = index.restore([(each.jti, each.stored()) for each in batch])
    refused += [f"{each.path}: another file has its id, token or path" for each in clashes]
    return len(batch) - len(clashes)


def _read(settings: Settings, path: Path) -> Attributes | str:
    """A file's attributes, or why they can't be used."""
    try:
        attributes = Attributes.model_validate_json(path.read_bytes())
        size = path.with_name(path.name.removesuffix(ATTRIBUTES_SUFFIX)).stat().st_size
    except ValidationError as error:
        return f"{path}: {error.errors()[0]['msg']}"
    except FileNotFoundError:
        return f"{path}: its file is missing"
    expected = settings.uploads / attributes.path
    if path != expected.with_name(expected.name + ATTRIBUTES_SUFFIX):
        return f"{path}: belongs to {attributes.path}"
    if size != attributes.size:
        return f"{path}: its file has {size} bytes instead of {attributes.size}"
    return attributes


def _put_aside_if_broken(path: Path) -> None:
    if not path.exists():
        return
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        aside = path.with_name(
            f"{path.name}.broken-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        )
        for each in _with_logs(path):
            each.rename(each.with_name(each.name.replace(path.name, aside.name)))
        _log.error("index put aside", reason=str(error), aside=str(aside))
    finally:
        connection.close()


def _with_logs(path: Path) -> Iterator[Path]:
    """The database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        each = path.with_name(path.name + suffix)
        if each.exists():
            yield each
