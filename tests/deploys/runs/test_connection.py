"""A connection that ends is its host's trouble, and one that is silent ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from pyinfra.api.exceptions import ConnectError
from pyinfra.context import ctx_host

from deploys.runs import connection
from deploys.runs.remedies import explain


class Transport:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.keepalive = 0

    def set_keepalive(self, seconds: int) -> None:
        self.keepalive = seconds


class Client:
    def __init__(self, transport: Transport) -> None:
        self.get_transport = lambda: transport


class Connector:
    """What pyinfra talks through, ended by what the other side did."""

    def __init__(self, client: Client | None, error: Exception) -> None:
        self.client, self.error = client, error

    def run_shell_command(self, command: str, **named: Any) -> None:
        raise self.error

    def put_file(self, source: str, to: str) -> None:
        raise self.error


class Host:
    def __init__(self, connector: Connector) -> None:
        self.connector = connector


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (EOFError(), "is back"),
        (ConnectError("Unable to establish SFTP connection."), "Subsystem sftp"),
    ],
)
def test_what_pyinfra_does_not_expect_of_a_connection_fails_the_operation_alone(
    error: Exception, remedy: str
) -> None:
    connector = Connector(None, error)
    with ctx_host.use(Host(connector)):
        connection.hold_on()
    calls: list[Callable[[], None]] = [
        lambda: connector.run_shell_command("true", _sudo=True),
        lambda: connector.put_file("here", "there"),
    ]
    for call in calls:
        # pyinfra takes an OSError of a command for the end of that command.
        with pytest.raises(OSError) as raised:
            call()
        _, told = explain([str(raised.value)])
        assert told is not None
        assert remedy in told


def test_a_connection_that_is_silent_is_given_up_after_a_minute() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        transport = Transport(sock)
        with ctx_host.use(Host(Connector(Client(transport), EOFError()))):
            connection.hold_on()
        patience = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert (transport.keepalive, patience) == (15, 60_000)
