"""A node's bandwidth has owners: who sends more uploads at once gets no more of it.

nginx and gunicorn as a node has them, with 8 MiB a second for all that comes in.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import pytest
import requests

from portside.quantities import KIB, MIB
from portside.wire import paths
from tests.support.agent.process import Agent
from tests.support.loopback import wait_until
from tests.support.nginx_process import Nginx
from tests.support.protocol.nodes import Node, node_behind_nginx
from tests.support.protocol.requests_by_hand import Tus

ENDLESS = 512 * MIB
BODY = bytes(2 * MIB)
"""More than comes before anything is owed."""


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Nginx]]:
    """A node on which an upload is idle after two seconds."""
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    settings = {
        "bandwidth.node": 8 * MIB,
        "bandwidth.owner": 6 * MIB,
        "bandwidth.upload": 5 * MIB,
        "slots_per_token": 4,
        "slots_per_owner": 0.5,
        "idle_after": 2.0,
    }
    with node_behind_nginx(*homes, settings=settings) as (node, nginx):
        yield node, nginx


class _Endless:
    """An upload that sends as fast as it may, until it is closed."""

    def __init__(self, nginx: Nginx, agent: Agent, owner: str) -> None:
        claims = agent.claims(sub=owner, max_size=ENDLESS)
        token = agent.mint(file_id=claims.file_id, sub=owner)
        self._staged = agent.root / "staging"
        self._file_id = claims.file_id
        self._connection = nginx.connect()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
        self._connection.sendall(
            f"PUT {paths.UPLOAD}/endless.bin HTTP/1.1\r\nHost: s01\r\nContent-Length: {ENDLESS}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        piece = bytes(64 * KIB)
        with suppress(OSError, ssl.SSLError, ValueError):
            while True:
                self._connection.sendall(piece)

    @property
    def size(self) -> int:
        """What of it has come to the disk."""
        return sum(each.stat().st_size for each in self._staged.glob(f"*{self._file_id}*"))

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()


@pytest.fixture
def endless(bounded: tuple[Node, Nginx]) -> Iterator[Callable[[str], _Endless]]:
    """Begins uploads without an end, which end with the test."""
    node, nginx = bounded
    begun: list[_Endless] = []

    def begin(owner: str) -> _Endless:
        begun.append(_Endless(nginx, node.agent, owner))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()
    node.agent.wait_for_uploads(0)


def test_an_owner_with_three_uploads_gets_as_much_as_one_with_one(
    bounded: tuple[Node, Nginx], endless: Callable[[str], _Endless]
) -> None:
    node, _ = bounded
    uploads = [*(endless("alice") for _ in range(3)), endless("bob")]
    wait_until(lambda: all(each.size for each in uploads))
    before = [each.size for each in uploads]
    wait_until(lambda: uploads[3].size - before[3] >= 5 * MIB)
    *alice, bob = (each.size - was for each, was in zip(uploads, before, strict=True))
    assert sum(alice) == pytest.approx(bob, rel=0.3)
    told = node.agent.status()["bandwidth"]
    assert (told["node"], told["owner"], told["download"]) == (8 * MIB, 6 * MIB, None)
    assert told["waiting"] > 0
    metrics = requests.get(f"{node.agent.url}/metrics", timeout=60).text
    assert 'portside_bandwidth_limit_bytes{of="owner"} 6.291456e+06' in metrics
    assert 'of="download"' not in metrics


def test_an_upload_that_waits_for_bandwidth_gives_way_to_nobody(
    bounded: tuple[Node, Nginx], endless: Callable[[str], _Endless]
) -> None:
    node, nginx = bounded
    share = node.agent.status()["slots"]["per_owner"]
    uploads = [endless("alice") for _ in range(share)]
    wait_until(lambda: all(each.size for each in uploads))
    before = node.agent.status()
    waited = before["bandwidth"]["waited_seconds"]
    # Each has waited for longer than an idle one is let be.
    wait_until(lambda: _waited(node.agent) > waited + 3 * share)
    token = {"Authorization": f"Bearer {node.agent.mint(sub='alice')}"}
    answer, _ = nginx.ask("PUT", f"{paths.UPLOAD}/one-more.bin", token, b"x")
    assert answer.status == 429
    after = node.agent.status()
    assert after["slots"]["gave_way"] == before["slots"]["gave_way"]
    assert after["slots"]["used"] == share


def _waited(agent: Agent) -> float:
    return float(agent.status()["bandwidth"]["waited_seconds"])


def _put(agent: Agent) -> int:
    return agent.put("a.bin", BODY).status_code


def _chunked(agent: Agent) -> int:
    return agent.put("a.bin", (BODY[: 1 * MIB] for _ in range(2))).status_code


def _form(agent: Agent) -> int:
    return agent.post("a.bin", BODY).status_code


def _tus(agent: Agent) -> int:
    tus = Tus(agent, name="a.bin")
    url = tus.create(len(BODY)).headers["Location"]
    return tus.append("/api" + url.partition("/api")[2], 0, BODY).status_code


def _again(agent: Agent) -> int:
    """What is stored is compared, and stored no second time."""
    token = agent.mint()
    assert agent.put("a.bin", BODY, token).status_code == 201
    before = _waited(agent)
    answer = agent.put("a.bin", BODY, token)
    assert _waited(agent) > before
    return answer.status_code


def _cut(agent: Agent) -> int:
    """Files that never come to their end, each a little larger than what is read at once."""
    for _ in range(6):
        with agent.open_put("a.bin", ENDLESS) as connection, suppress(OSError):
            connection.sendall(BODY[: 1 * MIB])
        agent.wait_for_uploads(0)
    return 0


WAYS: Mapping[Callable[[Agent], int], int] = {
    _put: 201,
    _chunked: 201,
    _form: 201,
    _tus: 200,
    _again: 200,
    _cut: 0,
}


@pytest.mark.parametrize("way", [pytest.param(each, id=each.__name__) for each in WAYS])
def test_no_way_leads_past_the_bound(
    bounded: tuple[Node, Nginx], way: Callable[[Agent], int]
) -> None:
    agent = bounded[0].agent
    before = _waited(agent)
    assert way(agent) == WAYS[way]
    agent.wait_for_uploads(0)
    assert _waited(agent) > before


def test_a_newer_request_takes_over_from_one_that_waits_for_bandwidth(
    bounded: tuple[Node, Nginx],
) -> None:
    agent = bounded[0].agent
    tus = Tus(agent, name="a.bin", sub="taken-over")
    place = "/api" + tus.create(ENDLESS).headers["Location"].partition("/api")[2]
    older = threading.Thread(target=tus.append, args=(place, 0, 32 * BODY))
    older.start()
    wait_until(lambda: agent.status()["bandwidth"]["waiting"] > 0)
    offset = tus.offset(place)
    assert 0 < offset < 32 * len(BODY)
    assert tus.append(place, offset, BODY[: 1 * MIB]).status_code == 204
    older.join()
    tus.delete(place)
