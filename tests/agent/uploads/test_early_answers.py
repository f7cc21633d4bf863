"""An answer that comes in the middle of a body reaches whoever is still sending."""

from __future__ import annotations

import http.client
import json
import socket

from portside.quantities import KIB
from tests.support.agent.process import Agent

_CHUNK = b"10000\r\n" + bytes(64 * KIB) + b"\r\n"


def test_a_refusal_in_the_middle_of_a_body_is_not_lost_to_what_still_comes(
    shared_agent: Agent,
) -> None:
    """Sent as nginx sends it: a write that fails is a 502 to nginx, whatever answer is there."""
    token = shared_agent.mint(max_size=64 * KIB)
    head = (
        "PUT /api/internal/upload/early.bin HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared_agent.socket_path))
        connection.sendall(head.encode())
        # More than the refused beginning and what the socket's buffers hold.
        for _ in range(32):
            connection.sendall(_CHUNK)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        document = json.loads(answer.read())
    assert (answer.status, document["type"]) == (413, "urn:portside:problem:too-large")
