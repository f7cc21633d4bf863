"""Writers and readers that are slow, stand still or compete: the newest one is served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.support.agent.process import SMALL_NODE
from tests.support.loopback import wait_until_read
from tests.support.protocol.checks import check_nothing_left_behind, check_stored
from tests.support.protocol.requests_by_hand import Connection, Tus

RING = SMALL_NODE.ring_buffer


def test_a_body_that_comes_byte_by_byte_is_taken(tus: Tus) -> None:
    content = os.urandom(300)
    url = tus.created(len(content))
    connection = Connection.append(tus, url, 0, len(content))
    for value in content:
        connection.send(bytes([value]))
        time.sleep(0.001)
    answer = connection.answer()
    connection.close()
    assert answer.status == 200
    check_stored(tus, answer.body, content)


def test_an_answer_that_is_read_byte_by_byte_holds_nobody_up(tus: Tus) -> None:
    content = os.urandom(300)
    url = tus.created(len(content))
    connection = Connection.append(tus, url, 0, len(content))
    connection.send(content)
    received = b""
    while not received.endswith(b"}"):
        received += connection.socket.recv(1)
        if len(received) == 1:
            assert tus.offset(url) == len(content)
    connection.close()
    check_stored(tus, received.partition(b"\r\n\r\n")[2], content)


def _asked(talker: Tus, url: str) -> int:
    return talker.offset(url)


def _appended(talker: Tus, url: str) -> int:
    # A wrong offset, but a newer request all the same.
    response = talker.append(url, 2**40, b"x")
    assert response.status_code == 409
    return int(response.headers["Upload-Offset"])


@pytest.mark.parametrize("newer", [_asked, _appended])
def test_a_newer_request_ends_a_writer_that_stands_still(
    tus: Tus, newer: Callable[[Tus, str], int]
) -> None:
    content = bytes(16) + os.urandom(2 * RING)
    url = tus.created(len(content))
    older = Connection.begun(tus, url, 0, len(content))
    older.send(content[:-10])
    wait_until_read(older.socket)
    # Were the older one not ended, this would be refused.
    offset = newer(tus, url)
    assert older.ended()
    older.close()
    assert offset == len(content) - 10
    finished = tus.append(url, offset, content[offset:])
    check_stored(tus, finished.text, content)


def test_a_termination_ends_a_writer_that_stands_still(tus: Tus) -> None:
    url = tus.created(10 * RING)
    older = Connection.begun(tus, url, 0, 10 * RING)
    older.send(bytes(RING))
    assert tus.delete(url).status_code == 204
    assert older.ended()
    older.close()
    check_nothing_left_behind(tus.agent)


def test_of_two_writers_at_once_the_newer_one_writes(tus: Tus) -> None:
    content = bytes(16) + os.urandom(4 * RING)
    url = tus.created(len(content))
    older = Connection.begun(tus, url, 0, len(content))
    newer = Connection.append(tus, url, 0, len(content))
    newer.send(content)
    answer = newer.answer()
    assert answer.status == 200
    assert older.ended()
    older.close()
    newer.close()
    check_stored(tus, answer.body, content)
