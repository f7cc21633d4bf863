"""A refusal reaches clients that read it once they have sent everything, however long it takes."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from faults.causing.clock_steps import Clock
from portside.quantities import MIB
from tests.support import nginx_process
from tests.support.deploys.nodes import MakeNode
from tests.support.loopback import wait_until_read
from tests.support.nginx_process import AgentDouble, Nginx, reply

HOUR = 3600.0


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """nginx's."""
    return Clock(tmp_path)


@pytest.fixture
def nginx(make_node: MakeNode, tmp_path: Path, clock: Clock) -> Iterator[Nginx]:
    """In front of an agent that refuses everything."""
    agent = AgentDouble(tmp_path / "agent.sock")
    agent.answer = lambda request, headers: reply(403, X_Refusal_Status="413", X_Refusal="{}")
    path = nginx_process.write(configuration(make_node()), tmp_path)
    running = Nginx(path, clock.environment)
    yield running
    running.stop()
    agent.close()


def test_a_refused_body_is_read_for_as_long_as_it_takes_to_send_it(
    nginx: Nginx, clock: Clock
) -> None:
    piece = bytes(MIB)
    head = "PUT /api/internal/upload/a.iso HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n"
    with nginx.connect() as connection:
        connection.sendall(head.format(3 * len(piece)).encode() + piece)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()) == (413, b"{}")
        # Firefox, Java and Python's requests look for it only now: they would find a reset.
        for elapsed in (HOUR / 2, HOUR):
            clock.set(elapsed)
            connection.sendall(piece)
            wait_until_read(connection)
        assert connection.recv(1) == b""
