"""A connection whose other end is gone without a word: noticed within a minute, not in two hours.

A machine that loses its power says nothing. TCP believes in it for as long as nothing is sent, and
for a quarter of an hour when something is.
"""

from __future__ import annotations

import socket

from pyinfra.context import host

KEEPALIVE = 15
"""Seconds between two signs of life to a node that is busy with a command."""

PATIENCE = 60
"""Seconds for which nothing that was sent is acknowledged: then the connection counts as lost."""


def notice_when_lost() -> None:
    """Let the SSH connection of the host that is being prepared end when nothing comes back."""
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    if transport is None:
        return
    transport.set_keepalive(KEEPALIVE)
    # Linux alone has it (tcp(7)), and behind a jump host there is no socket of our own.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, option, PATIENCE * 1000)
