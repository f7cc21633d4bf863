"""Whoever asks for every thread and every slot of a node crowds nobody out.

nginx and gunicorn as a node of 512 MiB has them: 25 slots, 33 threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from portside.quantities import MIB
from portside.wire import paths
from tests.support.agent.process import slug_of
from tests.support.loopback import wait_until
from tests.support.nginx_process import Nginx
from tests.support.protocol.crowding import ATTACKS, Crowd
from tests.support.protocol.nodes import Node, node_behind_nginx
from tests.support.protocol.requests_by_hand import Connection, Tus

SHARES = {"slots_per_token": 4, "slots_per_owner": 0.5, "slots_per_address": 0.5}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Nginx]]:
    """A node with a cluster file's shares, on which an upload is idle after half a second."""
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    settings = {**SHARES, "idle_after": 0.5}
    with node_behind_nginx(*homes, settings=settings) as (node, nginx):
        yield node, nginx


@pytest.mark.parametrize("attack", [pytest.param(each, id=each.__name__) for each in ATTACKS])
def test_probes_and_preflights_answer_and_another_owner_uploads(
    crowded: tuple[Node, Nginx], attack: Callable[[Crowd], None]
) -> None:
    node, nginx = crowded
    with Crowd(partial(nginx.connect, "127.0.0.2"), node.agent.mint) as crowd:
        attack(crowd)
        for _ in range(4):
            live, _ = nginx.ask("GET", "/health/live", source="127.0.0.3")
            assert live.status == 204
            asked = {"Authorization": "Bearer nonsense"}
            place = f"{paths.UPLOAD}/a.bin"
            refused, _ = nginx.ask("PUT", place, asked, b"x", source="127.0.0.3")
            assert refused.status == 401
        slots = node.agent.status()["slots"]
        assert slots["used"] <= slots["limit"] // 2
        token = {"Authorization": f"Bearer {node.agent.mint(sub='somebody-else')}"}
        stored, answer = nginx.ask("PUT", place, token, bytes(4 * MIB), source="127.0.0.3")
        assert stored.status == 201, answer
    node.agent.wait_for_uploads(0)


def test_a_party_that_has_its_share_is_told_so_in_its_dialect(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    # Nobody of it is idle for as long as this takes: nobody gives way.
    with node_behind_nginx(*homes, settings=dict(SHARES)) as (node, _):
        _has_its_share(node)


def _has_its_share(node: Node) -> None:
    tus = Tus(node.agent, name="parts.bin")
    urls = [
        tus.create(10, {"Upload-Concat": "partial"}).headers["Location"].partition("/api")[2]
        for _ in range(5)
    ]
    places = [f"/api{each}" for each in urls]
    running = [Connection.begun(tus, each, 0, 10) for each in places[:4]]
    refused = tus.append(places[4], 0, b"x" * 10)
    # tus-js-client gives up at 429.
    assert (refused.status_code, slug_of(refused)) == (503, "throttled")
    assert refused.headers["Retry-After"]
    for each in running:
        each.close()
    node.agent.wait_for_uploads(0)
    for part in places:
        tus.delete(part)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_idle_upload_gives_way_to_a_newcomer_and_keeps_its_bytes(
    crowded: tuple[Node, Nginx], is_chunked: bool
) -> None:
    node, _ = crowded
    tus = Tus(node.agent, name="idle.bin", sub=f"idler {is_chunked}")
    running = []
    places = []
    for _ in range(4):
        created = tus.create(2000, {"Upload-Concat": "partial"})
        places.append("/api" + created.headers["Location"].partition("/api")[2])
    for place in places:
        headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
        headers |= {"Content-Type": "application/offset+octet-stream"}
        headers |= {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": "2000"}
        running.append(Connection(tus, "PATCH", place, headers))
        running[-1].send(b"3E8\r\n" + b"x" * 1000 if is_chunked else b"x" * 1000)
    node.agent.wait_for_uploads(4)
    fifth = tus.create(10, {"Upload-Concat": "partial"}).headers["Location"]
    place = "/api" + fifth.partition("/api")[2]
    wait_until(lambda: tus.append(place, 0, b"x" * 10).status_code == 204)
    node.agent.wait_for_uploads(3)
    ended = next(each for each in running if _has_come(each))
    answer = ended.answer()
    # As tus hears 408.
    assert (answer.status, answer.slug) == (503, "throttled")
    assert int(answer.headers["Retry-After"]) > 0
    # Whatever had come through to the agent: on a busy machine it may be a piece of what was sent.
    assert 0 < tus.offset(places[running.index(ended)]) <= 1000
    assert node.agent.status()["slots"]["gave_way"] > 0
    for each in running:
        each.close()
    node.agent.wait_for_uploads(0)
    for part in [*places, place]:
        tus.delete(part)


def test_an_idle_whole_file_ends_with_408(crowded: tuple[Node, Nginx]) -> None:
    node, _ = crowded
    share = node.agent.status()["slots"]["per_owner"]
    tokens = [node.agent.mint(sub="whole") for _ in range(share)]
    running = [node.agent.open_put("idle.bin", 1000, token) for token in tokens]
    node.agent.wait_for_uploads(share)
    newcomer = node.agent.mint(sub="whole")
    wait_until(lambda: node.agent.put("new.bin", b"x", newcomer).status_code == 201)
    node.agent.wait_for_uploads(share - 1)
    answers = []
    for each in running:
        each.setblocking(False)
        try:
            answers.append(each.recv(4096))
        except BlockingIOError:
            each.close()
    assert [answer.split()[1] for answer in answers] == [b"408"]
    assert b"urn:portside:problem:too-slow" in answers[0]
    node.agent.wait_for_uploads(0)


def _has_come(connection: Connection) -> bool:
    connection.socket.setblocking(False)
    try:
        return connection.ended()
    except BlockingIOError:
        return False
    finally:
        connection.socket.setblocking(True)
