"""`manifest.jsonl` and `SHA256SUMS`: what an export has brought, for programs and for `sha256sum`.

Both get their names at the end of a run, whole: an older one stays until then.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TextIO

from portside import durable_file
from portside.client.http.errors import AlreadyRunning, LocalFileError
from portside.wire.base import Message
from portside.wire.control import FileView

MANIFEST, SUMS = "manifest.jsonl", "SHA256SUMS"


class Entry(Message):
    """A file of the export: sizes are bytes, times UTC."""

    file_id: str
    path: PurePosixPath
    """Below the export's folder."""
    size: int
    sha256: str
    owner: str
    namespace: str
    name: str | None
    content_type: str | None
    committed_at: datetime | None
    expires_at: datetime | None
    """When it would have ended by itself; None: it stays."""

    @classmethod
    def of(cls, view: FileView, path: PurePosixPath) -> Entry:
        """The entry of a stored file."""
        return cls(
            file_id=view.file_id,
            path=path,
            size=view.size or 0,
            sha256=view.sha256 or "",
            owner=view.owner,
            namespace=view.namespace,
            name=view.name,
            content_type=view.content_type,
            committed_at=view.committed_at,
            expires_at=view.expires_at,
        )


class Manifest:
    """Both lists while they grow. Thread-safe."""

    def __init__(self, folder: Path, lines: TextIO, sums: TextIO) -> None:
        self._folder = folder
        self._lines, self._sums = lines, sums
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def begun(cls, folder: Path) -> Iterator[Manifest]:
        """Lists that replace those of an earlier run when the context ends well.

        Raises LocalFileError, and AlreadyRunning while another export writes to the folder.
        """
        parts = [folder / f".{name}.part" for name in (MANIFEST, SUMS)]
        with ExitStack() as stack:
            try:
                lines = stack.enter_context(_locked(parts[0]))
                sums = stack.enter_context(parts[1].open("w", encoding="utf-8"))
                lines.truncate(0)
            except BlockingIOError:
                raise AlreadyRunning(
                    f"{folder}: another export writes to it: wait for it"
                ) from None
            except OSError as error:
                raise _unwritten(folder, error) from None
            yield cls(folder, lines, sums)
            try:
                for each in (lines, sums):
                    each.flush()
                    os.fsync(each.fileno())
                # The one that is locked goes last: until then nobody else touches either.
                parts[1].rename(folder / SUMS)
                parts[0].rename(folder / MANIFEST)
                durable_file.sync_directory(folder)
            except OSError as error:
                raise _unwritten(folder, error) from None

    def add(self, entry: Entry) -> None:
        """One more file is there. Raises LocalFileError."""
        try:
            with self._lock:
                self._lines.write(entry.model_dump_json() + "\n")
                # `sha256sum --check` reads these; no name here has what it would want escaped.
                self._sums.write(f"{entry.sha256}  {entry.path}\n")
        except OSError as error:
            raise _unwritten(self._folder, error) from None


def _locked(path: Path) -> TextIO:
    """The file at `path`, which nobody else writes to. Raises BlockingIOError, OSError."""
    while True:
        file = path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have ended between the two lines: then this is its finished list.
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _unwritten(folder: Path, error: OSError) -> LocalFileError:
    return LocalFileError(f"{folder}: the lists can't be written: {error.strerror}")
