"""TCP on this computer as the kernel tells of it (proc(5), /proc/net/tcp): tests needn't guess.

Ports that nobody else is given, and waiting for what is on its way to be there.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import reserved_port as reserved_port

PATIENCE = 60.0
"""Seconds for whatever takes milliseconds on a computer that has nothing else to do."""

_LISTENING, _WAITING_FOR_STRAYS = 0x0A, 0x06
"""States of a socket: TCP_LISTEN and TCP_TIME_WAIT (linux/tcp_states.h)."""


def wait_until(happened: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.01)


def wait_until_read(connection: socket.socket) -> None:
    """Wait until the other side has read everything that was sent."""
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]

    def arrived() -> bool:
        return all(each.unsent == 0 for each in _sockets() if each.ports == (ours, theirs))

    def read() -> bool:
        return all(each.unread == 0 for each in _sockets() if each.ports == (theirs, ours))

    # In this order: what has arrived can't be on its way any more.
    wait_until(arrived)
    wait_until(read)


def wait_until_hung_up(port: int) -> None:
    """Wait until the server at `port` has seen the end of every connection to it.

    That are connections as well which it hasn't accepted yet.
    """
    gone = (_LISTENING, _WAITING_FOR_STRAYS)
    wait_until(
        lambda: all(each.ports[0] != port or each.state in gone for each in _sockets()),
    )


@dataclass(frozen=True, slots=True)
class _Socket:
    ports: tuple[int, int]
    """Its own and the other side's."""
    state: int
    unsent: int
    unread: int


def _sockets() -> list[_Socket]:
    """Every socket of IPv4."""
    found = []
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, queues, *_ = line.split()
        unsent, unread = (int(queue, 16) for queue in queues.split(":"))
        ports = int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)
        found.append(_Socket(ports, int(state, 16), unsent, unread))
    return found
