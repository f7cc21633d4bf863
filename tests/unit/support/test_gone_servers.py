"""A test's server that is gone stays gone: nobody else is given its port.

Otherwise another test's server answers what a client sends to the dead one.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.agent.control_double import ControlDouble as NodesControlDouble
from tests.support.agent.receiver import Receiver
from tests.support.client.control_double import ControlDouble
from tests.support.client.copy_double import CopyDouble
from tests.support.client.node_double import NodeDouble
from tests.support.client.proxy_double import ProxyDouble


@pytest.mark.parametrize("kind", [NodeDouble, ControlDouble, ProxyDouble])
def test_the_port_of_a_closed_server_is_nobody_elses(
    kind: type[NodeDouble | ControlDouble | ProxyDouble],
) -> None:
    double = kind()
    double.close()
    refused(double.url)


def test_the_port_of_a_closed_copy_is_nobody_elses() -> None:
    double = CopyDouble("s01", b"x")
    double.close()
    refused(double.url)


def test_the_port_of_a_server_whose_context_ended_is_nobody_elses() -> None:
    with Receiver() as receiver, NodesControlDouble() as control:
        pass
    refused(receiver.origin)
    refused(control.url)


def refused(url: str) -> None:
    """Nobody may listen at this URL's port, and nobody does."""
    port = urlsplit(url).port
    assert port is not None
    with socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.1", port))
