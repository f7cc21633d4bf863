"""Connections that go through a command: a jump host, or whatever ProxyCommand says.

Paramiko has its own ProxyCommand, which never comes back under gevent (so under pyinfra), and spins
when the command ends. Here the command has a socket of a pair, and paramiko the other one.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from typing import Any


class Detour(socket.socket):
    """One end of a pair; the other is the standard input and output of a command."""

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        with theirs:
            # As ssh(1) starts it; what it has to say goes to the operator.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )

    def close(self) -> None:
        """End the command too."""
        super().close()
        self._process.terminate()
        self._process.wait()


class PerConnection(dict[str, Any]):
    """Paramiko's arguments for pyinfra, which wants a dict and reads it at each connection.

    It holds the command, and gives whoever asks for `sock` a detour of its own.
    """

    def __init__(self, command: str) -> None:
        super().__init__(sock=command)

    def __getitem__(self, name: str) -> Any:
        return Detour(super().__getitem__(name))

    def __iter__(self) -> Iterator[str]:
        # `update` copies a dict's values past __getitem__, unless it is iterated in its own way.
        return super().__iter__()
