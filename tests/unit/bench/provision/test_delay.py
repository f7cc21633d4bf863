"""What goes a long way arrives whole, in its order, and not before its time."""

from __future__ import annotations

import socket
import threading
import time

from bench.provision.delay import far_away

ROUND_TRIP = 0.2
"""Seconds."""


def test_both_directions_arrive_whole_and_no_sooner_than_their_way_takes() -> None:
    sent = bytes(range(256)) * 4096
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(1 << 16):
                    heard.extend(data)
                connection.sendall(bytes(reversed(heard)))

        answering = threading.Thread(target=answer)
        answering.start()
        with far_away({"node": "127.0.0.1"}, server.getsockname()[1], ROUND_TRIP) as ports:
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", ports["node"])) as connection:
                connection.sendall(sent)
                # The other direction goes on.
                connection.shutdown(socket.SHUT_WR)
                back = bytearray()
                while data := connection.recv(1 << 16):
                    back.extend(data)
            taken = time.monotonic() - begun
        answering.join()
    assert bytes(heard) == sent
    assert bytes(back) == bytes(reversed(sent))
    # The handshake, and there and back.
    assert taken >= 2 * ROUND_TRIP
