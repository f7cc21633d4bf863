"""Is this node fit to take uploads? A set of reasons against it; empty means yes.

A failed fsync or an I/O error is final for the process: the kernel has dropped the pages it could
not write, so the next fsync would lie. The node turns read-only, says why, and stays so until
someone has looked at the disk and restarted the agent.
"""

from __future__ import annotations

import errno
import os
import threading

import structlog

from agent.settings import Settings
from portside.durable_file import NO_ROOM, sync

_log = structlog.get_logger()

WRITE_CHECK = ".write-check-"
"""What the name of a file begins with that only shows whether the disk takes one."""


_AFTER = "look at the disk and at the kernel's log, then `systemctl restart portside-agent`"
"""What ends a fault."""


class NodeUnfit(Exception):
    """The node can't start: its data filesystem isn't there or isn't its own."""


class NodeHealth:
    """Reasons against taking uploads. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        check_marker(settings)
        self._device = settings.root.stat().st_dev

    def fault(self, code: str, detail: str) -> None:
        """Turn the node read-only, with a reason that every answer from now on carries."""
        with self._lock:
            first = code not in self._faults
            self._faults.setdefault(code, detail)
        if first:
            _log.critical("node is read-only", code=code, detail=detail)

    def reasons(self) -> tuple[str, ...]:
        """Why uploads are refused right now, in words for people; empty when they aren't."""
        with self._lock:
            reasons = [f"{code}: {detail}; {_AFTER}" for code, detail in self._faults.items()]
        try:
            if self.settings.root.stat().st_dev != self._device:
                reasons.append(
                    "disk-unmounted: the data filesystem is not mounted any more: mount it on "
                    f"{self.settings.root} again"
                )
        except OSError as error:
            reasons.append(
                f"disk-unreachable: {error.strerror}: is the data filesystem mounted on "
                f"{self.settings.root}?"
            )
        return tuple(reasons)


def check_marker(settings: Settings) -> None:
    """Raise NodeUnfit unless the data filesystem is mounted and belongs to this node.

    Without the marker the mount is missing, and uploads would fill the system's own disk.
    """
    try:
        owner = settings.marker.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NodeUnfit(
            f"{settings.marker} is missing: is the data filesystem mounted on {settings.root}?"
        ) from None
    except OSError as error:
        raise NodeUnfit(f"{settings.marker} can't be read: {error.strerror}") from None
    if owner != settings.node_id:
        raise NodeUnfit(f"{settings.root} belongs to node {owner!r}, this is {settings.node_id!r}")


def check_write(settings: Settings) -> None:
    """Raise NodeUnfit unless a file can be written and made durable on the data filesystem.

    A full one is fit: what is there can be read and deleted, and uploads are refused by admission.
    """
    probe = settings.staging / f"{WRITE_CHECK}{os.getpid()}"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, b"portside\n")
            sync(descriptor)
        finally:
            os.close(descriptor)
            # Another process that starts may have swept it away.
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise _unwritable(settings, error) from None
        _write_in_place(settings)


def _write_in_place(settings: Settings) -> None:
    """The proof on a full disk, in blocks that are taken: there is none where nothing is held."""
    try:
        for piece in settings.reserve.iterdir():
            with piece.open("r+b", buffering=0) as file:
                file.write(b"portside\n")
                sync(file.fileno())
            return
    except OSError as error:
        # The other process may have given up what there was.
        if error.errno not in (*NO_ROOM, errno.ENOENT):
            raise _unwritable(settings, error) from None


def _unwritable(settings: Settings, error: OSError) -> NodeUnfit:
    return NodeUnfit(f"{settings.root} can't be written: {error.strerror}")
