"""The socket that all generations listen on: bound once, kept by systemd while the unit restarts.

systemd's store of descriptors (sd_notify(3), FDSTORE) is kept through restarts and crashes, and
emptied when the unit is stopped: a `.socket` unit would start a stopped service again with the
next request.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

_FIRST_PASSED = 3
"""SD_LISTEN_FDS_START (sd_listen_fds(3))."""

_BACKLOG = 2048
"""Connections that wait while a process starts; the kernel has `net.core.somaxconn` at most."""

_MODE_MASK = 0o117
"""Whoever is in the service's group may connect: nginx. Nobody else."""


def listening_socket(path: Path, environment: Mapping[str, str]) -> socket.socket:
    """The one that systemd has kept, if it has, else a new one that is at `path` at once.

    Raises OSError.
    """
    passed = (environment.get("LISTEN_PID"), environment.get("LISTEN_FDS"))
    if passed == (str(os.getpid()), "1"):
        kept = socket.socket(fileno=_FIRST_PASSED)
        kept.set_inheritable(False)
        if path.is_socket():
            return kept
        # Its name was removed: nobody could connect.
        kept.close()
    return _bound(path)


def _bound(path: Path) -> socket.socket:
    """Take the place of whatever socket is there, without a moment in which there is none."""
    candidate = path.with_name(f".{path.name}.new")
    candidate.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(_MODE_MASK)
    try:
        listener.bind(str(candidate))
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    candidate.replace(path)
    return listener


def keep(listener: socket.socket, environment: Mapping[str, str]) -> None:
    """Have systemd keep the socket until the unit is stopped."""
    # The first of FileDescriptorStoreMax=1; one that is kept already isn't taken twice.
    notify("FDSTORE=1\nFDNAME=web\nFDPOLL=0", environment, [listener.fileno()])


def notify(message: str, environment: Mapping[str, str], descriptors: Sequence[int] = ()) -> None:
    """Tell systemd (sd_notify(3)), if it listens."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    place = "\0" + address[1:] if address[0] == "@" else address
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        # systemd itself starts anew at times: what it misses is told again with the next event.
        contextlib.suppress(OSError),
    ):
        sender.sendmsg([message.encode()], beside if descriptors else (), 0, place)
