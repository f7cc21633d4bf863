"""A connection that is gone: noticed within a minute, and the trouble of its host alone.

A machine that loses its power says nothing. TCP believes in it for as long as nothing is sent, and
for a quarter of an hour when something is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import wraps
from typing import Any

from pyinfra.api.exceptions import ConnectError
from pyinfra.context import host

KEEPALIVE = 15
"""Seconds between two signs of life to a node that is busy with a command."""

PATIENCE = 60
"""Seconds for which nothing that was sent is acknowledged: then the connection counts as lost."""


def hold_on() -> None:
    """See that the connection of the host that is being prepared can end without the run's end."""
    connector = host.connector
    for name in ("run_shell_command", "put_file"):
        setattr(connector, name, _own_trouble(getattr(connector, name)))
    client = getattr(connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if transport is None:
        return
    transport.set_keepalive(KEEPALIVE)
    # Linux alone has it (tcp(7)), and behind a jump host there is no socket of our own.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, option, PATIENCE * 1000)


def _own_trouble(call: Callable[..., Any]) -> Callable[..., Any]:
    """What pyinfra's operations don't expect of a connection, as the OSError that they do: EOFError
    of one that ends while it is asked for a channel, ConnectError of a login without SFTP."""

    @wraps(call)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except (EOFError, ConnectError) as error:
            raise ConnectionError(str(error) or "connection lost") from error

    return told
