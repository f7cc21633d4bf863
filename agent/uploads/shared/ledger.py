"""The ledger as the processes of one node share it: what each has given, in a file of its own.

Such a file is locked by its process for as long as that lives, so that what a killed one had is
free at once: the kernel lets go of the lock. An entry is a record of fixed size that is written in
place, whatever the number of uploads. One lock over all of them makes a decision and its record one
step: two processes never give away the same slot. All of this is in /run, which is memory.

As long as there is one process, nothing has to be read: a step costs four system calls.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from agent.uploads.shared.entries import Elsewhere, Entry, from_bytes, to_bytes

_RECORD = 2048
"""Bytes of an entry, filled up with zeros; the longest has some 1,800."""

_SUFFIX = ".entries"

_log = structlog.get_logger()


class SharedLedger:
    """This process's part of a node's ledger, and a view of the others'. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Two processes may have one number, one after the other.
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._asked: dict[str, bool] = {}
        self._last = Elsewhere()
        self._is_read = True
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with self.alone():
            # Under the lock: nobody finds it before it is locked itself, and takes it for dead.
            self._own = os.open(folder / self._name, flags, 0o600)
            fcntl.flock(self._own, fcntl.LOCK_EX)

    @contextmanager
    def alone(self) -> Iterator[Elsewhere]:
        """No other process decides in this context. Yields what the others have given.

        Where that can't be read it is what was read last: what ends is given back all the same.
        """
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield self._read_or_last()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def put(self, entry: Entry) -> None:
        """Write an entry, or the same one anew. In `alone`."""
        place = self._places.get(entry.key)
        if place is None:
            place = self._free.pop() if self._free else len(self._places)
            self._places[entry.key] = place
        self._write(place, to_bytes(entry))

    def remove(self, key: str) -> None:
        """Strike an entry out. In `alone`."""
        place = self._places.pop(key, None)
        if place is not None:
            self._free.append(place)
            self._write(place, b"")

    def ask(self, asks: Mapping[str, bool]) -> None:
        """Ask others for this and nothing else (`agent.uploads.shared.asking`). In `alone`."""
        for key in self._asked.keys() - asks.keys():
            self.remove(_asking(key))
        for key, takes_over in asks.items() - self._asked.items():
            self.put(Entry(_asking(key), asks=key, takes_over=takes_over))
        self._asked = dict(asks)

    def _write(self, place: int, data: bytes) -> None:
        try:
            if len(data) > _RECORD:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            os.pwrite(self._own, data.ljust(_RECORD, b"\0"), place * _RECORD)
        except OSError as error:
            # /run is full (ENOSPC). This process counts it all the same; another, while one drains,
            # may give the same once more. The disk itself is asked before every write.
            _log.warning("other processes can't be told of an upload", reason=str(error))

    def close(self) -> None:
        """As the end of the process does: all that it had is free."""
        os.close(self._own)
        os.close(self._lock)

    def _read_or_last(self) -> Elsewhere:
        try:
            self._last, is_read = self._elsewhere(), True
        except OSError as error:
            # No descriptor is left (EMFILE). Of a folder that is gone nothing is known any more,
            # and what was last known would never end.
            if isinstance(error, FileNotFoundError):
                self._last = Elsewhere()
            is_read = False
            if self._is_read:
                _log.warning("the ledger of other processes can't be read", reason=str(error))
        self._is_read = is_read
        return self._last

    def _elsewhere(self) -> Elsewhere:
        others = [
            name
            for name in os.listdir(self._folder)  # noqa: PTH208 (names alone: this is asked often)
            if name.endswith(_SUFFIX) and name != self._name
        ]
        return Elsewhere(tuple(entry for name in others for entry in self._read(name)))

    def _read(self, name: str) -> list[Entry]:
        """The entries of a process that lives; the file of one that doesn't is removed."""
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            return list(_entries(data))
        else:
            path.unlink(missing_ok=True)
            return []
        finally:
            os.close(descriptor)


def _asking(key: str) -> str:
    return f"way of {key}"


def _entries(data: bytes) -> Iterator[Entry]:
    for start in range(0, len(data), _RECORD):
        record = data[start : start + _RECORD].rstrip(b"\0")
        if record:
            try:
                yield from_bytes(record)
            except (ValueError, TypeError) as error:
                _log.warning("entry of another process can't be read", reason=str(error))


def beside(socket_path: Path) -> SharedLedger | None:
    """The ledger of the service that listens there; None where its folder can't be written to.

    Then each process has a ledger of its own: on a node the deploy's unit sees to it.
    """
    try:
        return SharedLedger(socket_path.parent / "ledger")
    except OSError as error:
        _log.warning("the ledger can't be shared with a process that drains", reason=str(error))
        return None
