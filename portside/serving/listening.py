"""The socket that all generations listen on: bound once, kept by systemd while the unit restarts.

systemd's store of descriptors (sd_notify(3), FDSTORE) is kept through restarts and crashes, and
emptied when the unit is stopped: a `.socket` unit would start a stopped service again with the
next request.
"""

from __future__ import annotations

import array
import contextlib
import os
import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

_FIRST_PASSED = 3
"""SD_LISTEN_FDS_START (sd_listen_fds(3))."""

_BACKLOG = 2048
"""Connections that wait while a process starts; the kernel has `net.core.somaxconn` at most."""

_FORGET = "FDSTOREREMOVE=1\nFDNAME=web"
"""First: of more than one systemd would keep the oldest (FileDescriptorStoreMax=1)."""

_STORE = "FDSTORE=1\nFDNAME=web\nFDPOLL=0"

_SYSTEMD = "/run/systemd/notify"
"""Where systemd listens for its services."""

_SCM_CREDENTIALS = 2
"""<bits/socket.h>; Python's socket module lacks it."""

_MODE_MASK = 0o117
"""Whoever is in the service's group may connect: nginx. Nobody else."""


def listening_socket(path: Path, environment: Mapping[str, str]) -> socket.socket:
    """The one that systemd has kept, if it has, else a new one that is at `path` at once, and kept
    from now on until the unit is stopped.

    Raises OSError.
    """
    passed = (environment.get("LISTEN_PID"), environment.get("LISTEN_FDS"))
    if passed == (str(os.getpid()), "1"):
        kept = socket.socket(fileno=_FIRST_PASSED)
        kept.set_inheritable(False)
        bound = Path(kept.getsockname())
        if bound != path and bound.is_socket():
            # Whoever made it was killed before it had its name.
            bound.replace(path)
        if path.is_socket():
            return kept
        # Its name was removed: nobody could connect.
        kept.close()
    listener, candidate = _beside(path)
    forget(environment)
    notify(_STORE, environment, [listener.fileno()])
    # It takes the place of whatever socket is there, without a moment in which there is none.
    candidate.replace(path)
    return listener


def _beside(path: Path) -> tuple[socket.socket, Path]:
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
    # A socket keeps the name that it was bound to: no two are to have the same.
    candidate = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(_MODE_MASK)
    try:
        listener.bind(str(candidate))
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    return listener, candidate


def keep_for(process: int, path: Path, systemd: str = _SYSTEMD) -> None:
    """Have systemd keep a new socket at `path` for the unit whose main process this is.

    For a server that binds its own socket and knows nothing of this: what comes from now on waits
    for its successor, what came before it still accepts. Root only. Raises OSError.
    """
    listener, candidate = _beside(path)
    owner = path.parent.stat()
    # By now the folder's owner may have put a link there.
    os.chown(candidate, owner.st_uid, owner.st_gid, follow_symlinks=False)
    # Root may speak for any process (unix(7), SCM_CREDENTIALS: struct ucred).
    speaker = (socket.SOL_SOCKET, _SCM_CREDENTIALS, struct.pack("iII", process, 0, 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendmsg([_FORGET.encode()], [speaker], 0, systemd)
        sender.sendmsg([_STORE.encode()], [speaker, _passing([listener.fileno()])], 0, systemd)
    candidate.replace(path)
    listener.close()


def forget(environment: Mapping[str, str]) -> None:
    """Have systemd keep no socket for this unit any more."""
    notify(_FORGET, environment)


def notify(message: str, environment: Mapping[str, str], descriptors: Sequence[int] = ()) -> None:
    """Tell systemd (sd_notify(3)), if it listens."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    beside = [_passing(descriptors)] if descriptors else []
    place = "\0" + address[1:] if address[0] == "@" else address
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        # systemd itself starts anew at times: what it misses is told again with the next event.
        contextlib.suppress(OSError),
    ):
        sender.sendmsg([message.encode()], beside, 0, place)


def _passing(descriptors: Sequence[int]) -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes()
